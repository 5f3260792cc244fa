"""URL paths, and keys in the object store.

A stored image has a random name, and an output CSV has the lease token of its request in its name. So nobody replaces
an object of another, and images are immutable. The folder of an image names the request that stored it first; other
requests may refer to it, also after that one was deleted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from gql_imgproc.ids import IdPrefix, encode_global_id, parse_global_id

#: `REQUEST/NAME.EXT`, the end of an image path, perhaps with a readable name. Any name is accepted. Before it there may
#: be up to nine renditions, one of which can be served instead. They are part of the path, so that it differs from the
#: path of a request that does not negotiate: caches keep an image for a year.
_IMAGE_PATH = re.compile(
    r"([0-9a-f]{32})/([0-9a-f]{32}(?:-[0-9]{1,9})?\.[a-z0-9]{2,5})"
    r"(?:(?:/([0-9a-f]{32}(?:-[0-9a-f]{32}){0,8}))?/(?!\.{1,2}\Z)[^/]{1,255})?"
)
_IMAGE_KEY = re.compile(r"images/[0-9a-f]{32}/([0-9a-f]{32})\.[a-z0-9]{2,5}")
_LEGACY_IMAGE_KEY = re.compile(r"requests/[0-9a-f]{32}/images/([0-9a-f]{32})-[0-9]{1,9}\.[a-z0-9]{2,5}")


#: Start of the path of every compressed image.
IMAGES_PATH = "/api/image/"


def object_name(rendition_id: UUID, extension: str) -> str:
    return f"{rendition_id.hex}.{extension}"


def legacy_object_name(image_id: UUID, lease_token: int) -> str:
    """Name, up to the dot, of an object that earlier versions stored for a claimed image."""
    return f"{image_id.hex}-{lease_token}."


@dataclass(frozen=True, slots=True)
class ImagePath:
    """What the path of an image names."""

    key: str
    #: Renditions, one of which can be served instead.
    alternatives: tuple[UUID, ...]


def image_path(stored_by: UUID, name: str, readable_name: str | None, alternatives: Sequence[UUID] = ()) -> str:
    parts: list[str | None] = [stored_by.hex, name]
    # A single part after the name of the object is a readable name.
    parts += ["-".join(each.hex for each in alternatives), readable_name or name] if alternatives else [readable_name]
    return IMAGES_PATH + "/".join(filter(None, parts))


def image_key(stored_by: UUID, name: str) -> str:
    # Earlier versions stored images below their requests.
    return legacy_image_key(stored_by, name) if "-" in name else f"{images_prefix(stored_by)}{name}"


def legacy_image_key(request_id: UUID, name: str) -> str:
    return f"{request_prefix(request_id)}images/{name}"


def parse_image_path(path: str) -> ImagePath | None:
    """Read the end of the path of an image; None if it is malformed."""
    match = _IMAGE_PATH.fullmatch(path)
    if not match:
        return None
    alternatives = match[3].split("-") if match[3] else []
    return ImagePath(image_key(UUID(hex=match[1]), match[2]), tuple(map(UUID, alternatives)))


def download_path(request_id: UUID) -> str:
    return f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def report_path(request_id: UUID) -> str:
    return f"/api/report/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def archive_path(request_id: UUID) -> str:
    return f"/api/archive/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def source_path(image_id: str) -> str:
    """Path that downloads the source of an image again. `image_id` is the global ID."""
    return f"/api/source/{image_id}"


def request_id_from_path(path: str) -> UUID | None:
    """Return the request from the end of a download path: a global ID or a UUID."""
    if request_id := parse_global_id(path, IdPrefix.REQUEST):
        return request_id
    try:
        return UUID(path)
    except ValueError:
        return None


#: Start of the keys of CSVs, followed by the ID of their request.
REQUESTS_PREFIX = "requests/"


def request_prefix(request_id: UUID) -> str:
    return f"{REQUESTS_PREFIX}{request_id.hex}/"


#: Start of the keys of images, followed by the ID of the request that stored them first.
IMAGES_PREFIX = "images/"


def images_prefix(stored_by: UUID) -> str:
    return f"{IMAGES_PREFIX}{stored_by.hex}/"


def request_id_from_key(key: str) -> UUID:
    return UUID(hex=key.split("/")[1])


def rendition_id_from_key(key: str) -> UUID | None:
    """Return the rendition of an object; None if it has none."""
    match = _IMAGE_KEY.fullmatch(key)
    return UUID(match[1]) if match else None


def image_id_from_legacy_key(key: str) -> UUID | None:
    """Return the image that an earlier version stored the object for; None if it is no such object."""
    match = _LEGACY_IMAGE_KEY.fullmatch(key)
    return UUID(match[1]) if match else None


def input_key(request_id: UUID) -> str:
    return f"requests/{request_id.hex}/input.csv"


def output_name(lease_token: int, charset: str = "utf-8") -> str:
    return f"output-{lease_token}.csv" if charset == "utf-8" else f"output-{lease_token}.{charset}.csv"


def workbook_name(lease_token: int) -> str:
    return f"output-{lease_token}.xlsx"


def csv_name(output_name: str) -> str:
    """Return the name of an output CSV; the output of a workbook is stored as a CSV too."""
    return output_name.replace(".xlsx", ".csv")


def output_charset(name: str) -> str:
    """Return the charset in the name of an output CSV."""
    return ".".join(name.split(".")[1:-1]) or "utf-8"


def output_key(request_id: UUID, name: str) -> str:
    return f"requests/{request_id.hex}/{name}"


def report_key(request_id: UUID, output_name: str) -> str:
    """Key of the report that belongs to an output."""
    return output_key(request_id, csv_name(output_name).replace("output-", "report-", 1))
