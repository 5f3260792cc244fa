"""What a download says of itself, whether we serve it or a bucket does: its type, its name, how long it may be kept."""

from __future__ import annotations

from urllib.parse import quote

OUTPUT_TYPE = "text/csv; charset=utf-8"
#: A retry of failed images makes another output.
OUTPUT_CACHE = "no-cache"
#: The bytes of a picture never change: a new try is stored under a new name.
_FOR_EVER = "max-age=31536000, immutable"


def image_cache_control(*, private: bool) -> str:
    """How long, and where, a picture may be kept."""
    return f"{'private' if private else 'public'}, {_FOR_EVER}"


def output_filename(csv_filename: str) -> str:
    """`shop.csv` was uploaded, `shop-output.csv` comes out."""
    stem, dot, extension = csv_filename.rpartition(".")
    return f"{stem if dot and extension.isalnum() else csv_filename}-output.csv"


def content_disposition(name: str) -> str:
    """`Content-Disposition` by RFC 6266: the name for every client, and the plain one for old ones."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
