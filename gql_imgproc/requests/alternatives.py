"""Which outputs of an image can be served in place of another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol
from uuid import UUID

from gql_imgproc.storage.paths import image_key, rendition_id_from_key


class OutputFile(Protocol):
    """An output of a completed image; the first one is the image itself."""

    @property
    def stored_by(self) -> UUID: ...
    @property
    def object_name(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...


def find_alternatives(output: OutputFile, outputs: Iterable[OutputFile]) -> list[UUID]:
    """The renditions of those outputs of an image that differ from one in their media type, but not in dimensions."""
    similar = (
        each
        for each in outputs
        if each.format != output.format and (each.width, each.height) == (output.width, output.height)
    )
    ids = (rendition_id_from_key(image_key(each.stored_by, each.object_name or "")) for each in similar)
    return [id for id in ids if id]
