"""Share links of file services, which lead to a web page, and the direct URLs of their files."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

import httpx

_LINK = re.compile(
    r"https?://(?:((?:drive|docs)\.google\.com)|(?:www\.)?(dropbox\.com)|(1drv\.ms|onedrive\.live\.com)|[a-z0-9-]+\.(sharepoint\.com))"
    r"/[^#]*",
    re.IGNORECASE,
)
#: Which of several accounts of a visitor, or of a company, a path of Google Drive is for.
_ACCOUNT = re.compile(r"/(?:u/\d+|a/[\w.-]+)(?=/)")
_DRIVE_FILE = re.compile(r"/file/d/([\w-]+)")
_FOLDER = 'The link leads to a folder. Share each image with "Anyone with the link", and use its own link.'
#: Transfers, and files in the account of the visitor.
_DROPBOX_PAGES = ("/t/", "/home/", "/preview/")
_EMBED = 'In OneDrive choose "Embed" for the image, and use the URL that it shows.'
_PUBLIC = 'Share the file itself with "Anyone with the link", or use a URL of another host.'


@dataclass(frozen=True, slots=True)
class ShareLink:
    #: None if there is none.
    direct_url: str | None
    #: How to get a URL that works.
    advice: str


def find_share_link(url: str) -> ShareLink | None:
    """Return the direct URL of a share link; None for any other URL."""
    if (match := _LINK.match(url)) is None:
        return None
    try:
        parsed = httpx.URL(match[0])
    except (httpx.InvalidURL, UnicodeError):
        return None
    google, dropbox, onedrive, _ = match.groups()
    if google:
        return _google_drive(parsed)
    if dropbox:
        return _dropbox(parsed)
    return _onedrive(parsed) if onedrive else _sharepoint(parsed)


def _google_drive(url: httpx.URL) -> ShareLink | None:
    path = _ACCOUNT.sub("", url.path)
    if "/folders/" in path or path == "/folderview":
        return ShareLink(None, _FOLDER)
    file = _DRIVE_FILE.match(path)
    file_id = file[1] if file else url.params.get("id") if path in ("/open", "/uc") else None
    if not file_id:
        return None
    params = {"export": "download", "id": file_id}
    if key := url.params.get("resourcekey"):
        params["resourcekey"] = key
    return ShareLink(str(httpx.URL("https://drive.google.com/uc", params=params)), _PUBLIC)


def _dropbox(url: httpx.URL) -> ShareLink | None:
    if url.path.startswith(("/sh/", "/scl/fo/")):
        return ShareLink(None, _FOLDER)
    if url.path.startswith(_DROPBOX_PAGES):
        return ShareLink(None, f"The link leads to a web page. {_PUBLIC}")
    if not url.path.startswith(("/s/", "/scl/fi/")):
        return None
    return ShareLink(str(url.copy_remove_param("raw").copy_set_param("dl", "1")), _PUBLIC)


def _onedrive(url: httpx.URL) -> ShareLink | None:
    if url.path.startswith("/f/"):
        return ShareLink(None, _FOLDER)
    # URLs for embedding have a size, and lead to the image.
    if "width" in url.params or url.path == "/download" or not (url.host == "1drv.ms" or url.params):
        return None
    share_id = urlsafe_b64encode(str(url).encode()).decode().rstrip("=")
    return ShareLink(f"https://api.onedrive.com/v1.0/shares/u!{share_id}/root/content", _EMBED)


def _sharepoint(url: httpx.URL) -> ShareLink | None:
    if url.path.startswith("/:f:/"):
        return ShareLink(None, _FOLDER)
    return ShareLink(str(url.copy_set_param("download", "1")), _PUBLIC) if url.path.startswith("/:") else None
