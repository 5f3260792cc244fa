"""Readable names of result files: `oak-chair-2.jpg`. A name is decoration: the object key before it decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from uuid import UUID

from anyascii import anyascii

from gql_imgproc.enums import CsvProfile
from gql_imgproc.storage.paths import image_path

#: Maximum of a name, with its number and its extension.
MAX_CHARS = 80
#: What is added to a template: an extension, and the digits of a number instead of `{n}`.
_RESERVED_CHARS = len(".jpeg")
DEFAULT_TEMPLATE = "{handle}-{n}"
_NUMBER = "{n}"
#: These shops identify products by the name in their URL.
_HANDLE_PROFILES = (CsvProfile.SHOPIFY, CsvProfile.MEDUSA)
#: Characters that no transliteration needs: a product name may be far longer.
_READ_CHARS = 200

_FIELD = re.compile(r"\{(handle|sku|name)\}")
_OTHER = re.compile(r"[^a-z0-9]+")


def name_product(template: str | None, profile: CsvProfile | None, serial_number: str, product_name: str) -> str:
    """Returns the template of a product's file names, in which only `{n}` is left."""
    template = template or DEFAULT_TEMPLATE
    sku, name = _slug(serial_number), _slug(product_name)
    values = {"handle": sku if profile in _HANDLE_PROFILES else name or sku, "sku": sku or name, "name": name or sku}
    fields = _FIELD.findall(template)
    fixed_chars = len(_FIELD.sub("", template)) + _RESERVED_CHARS
    chars = max(1, (MAX_CHARS - fixed_chars) // max(1, len(fields)))
    return _FIELD.sub(lambda field: values[field[1]][:chars].strip("-") or "image", template)


def name_image(product_template: str, position: int, object_name: str, output: str | None = None) -> str:
    """Returns the name of an image, whose position in its product starts at 0.

    `output`: the name of an output after the first, which is added: `oak-chair-2-thumb.webp`.
    """
    ending = f".{object_name.rpartition('.')[2]}"
    if output is not None:
        ending = f"-{output.replace('.', '-')}{ending}"
    number, room = str(position + 1), MAX_CHARS - len(ending)
    parts = product_template.split(_NUMBER)
    if (surplus := len(number.join(parts)) - room) > 0:
        # The number stays, or names would be the same.
        longest = max(range(len(parts)), key=lambda index: len(parts[index]))
        words = parts[longest].rstrip("-_")
        parts[longest] = words[:-surplus].rstrip("-_") + parts[longest][len(words) :]
    return number.join(parts)[:room] + ending


def result_path(
    stored_by: UUID,
    object_name: str,
    product_template: str | None,
    position: int,
    output: str | None = None,
    alternatives: Sequence[UUID] = (),
) -> str:
    """Returns the URL path of a compressed image. `alternatives`: renditions that can be served instead."""
    name = name_image(product_template, position, object_name, output) if product_template else None
    return image_path(stored_by, object_name, name, alternatives)


def _slug(text: str) -> str:
    return _OTHER.sub("-", anyascii(text[:_READ_CHARS]).lower()).strip("-")
