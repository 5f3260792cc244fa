"""Headers of downloads, from the API or from a bucket: type, file name, caching."""

from __future__ import annotations

from urllib.parse import quote

OUTPUT_TYPE = "text/csv; charset=utf-8"
#: A retry of failed images creates another output CSV.
OUTPUT_CACHE = "no-cache"
#: An image never changes: a new attempt is stored under a new name.
_IMMUTABLE = "max-age=31536000, immutable"


def image_cache_control(*, is_private: bool) -> str:
    return f"{'private' if is_private else 'public'}, {_IMMUTABLE}"


def output_filename(csv_filename: str) -> str:
    """Return `shop-output.csv` for an upload of `shop.csv`."""
    stem, dot, extension = csv_filename.rpartition(".")
    return f"{stem if dot and extension.isalnum() else csv_filename}-output.csv"


def content_disposition(name: str) -> str:
    """`Content-Disposition` as in RFC 6266: with an ASCII name for old clients."""
    ascii_name = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
