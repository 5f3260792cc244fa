"""Headers of downloads, from the API or from a bucket: type, file name, caching."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from gql_imgproc.csvfile.workbook import EXTENSIONS
from gql_imgproc.enums import CsvProfile
from gql_imgproc.storage.paths import output_charset

_UTF8_CSV = "text/csv; charset=utf-8"
_WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#: A retry of failed images creates another output CSV.
OUTPUT_CACHE = "no-cache"
#: An image never changes: a new attempt is stored under a new name.
_IMMUTABLE = "max-age=31536000, immutable"


def image_cache_control(*, is_private: bool) -> str:
    return f"{'private' if is_private else 'public'}, {_IMMUTABLE}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that browsers save, not show."""

    filename: str
    media_type: str


def output_download(
    csv_filename: str, profile: CsvProfile | None, output_name: str, suffix: str = "-output"
) -> Attachment:
    """Return `shop-output.csv` for an upload of `shop.csv`. A shop's CSV keeps its extension."""
    if output_name.endswith(".xlsx"):
        return Attachment(_with_suffix(csv_filename, suffix, "xlsx"), _WORKBOOK)
    is_renamed = profile in (None, CsvProfile.GENERIC) or csv_filename.lower().endswith(EXTENSIONS)
    media_type = f"text/csv; charset={output_charset(output_name)}"
    return Attachment(_with_suffix(csv_filename, suffix, "csv" if is_renamed else None), media_type)


def report_download(csv_filename: str) -> Attachment:
    return Attachment(_with_suffix(csv_filename, "-report", "csv"), _UTF8_CSV)


def _with_suffix(csv_filename: str, suffix: str, new_extension: str | None = None) -> str:
    stem, dot, extension = csv_filename.rpartition(".")
    if not (dot and extension.isalnum()):
        stem, extension = csv_filename, "csv"
    return f"{stem}{suffix}.{new_extension or extension}"


def archive_download(csv_filename: str) -> Attachment:
    return Attachment(_with_suffix(csv_filename, "-images", "zip"), "application/zip")


def content_disposition(name: str) -> str:
    """`Content-Disposition` as in RFC 6266: with an ASCII name for old clients."""
    ascii_name = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
