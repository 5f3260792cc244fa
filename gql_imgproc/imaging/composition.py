"""Composes the frames of GIF and APNG as browsers do. Pillow fills what no frame covers, and does not mix alpha."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from PIL import Image


class Disposal(Enum):
    """What happens to the rectangle of a frame before the next one is painted."""

    KEEP = "keep"
    CLEAR = "clear"
    RESTORE = "restore"


@dataclass(frozen=True, slots=True)
class Frame:
    """RGBA pixels, and where they are painted. With `replaces`, they replace the canvas; else they are put over it."""

    image: Image.Image
    corner: tuple[int, int]
    disposal: Disposal = Disposal.KEEP
    replaces: bool = False

    def paint(self, canvas: Image.Image) -> None:
        if self.replaces:
            canvas.paste(self.image, self.corner)
            return
        # Parts outside the canvas are not shown.
        part = self.image.crop((0, 0, canvas.width - self.corner[0], canvas.height - self.corner[1]))
        canvas.alpha_composite(part, self.corner)


def compose(size: tuple[int, int], frames: Iterable[Frame]) -> Iterator[Image.Image]:
    """Each frame on the whole canvas, which is transparent at first."""
    canvas = Image.new("RGBA", size)
    for frame in frames:
        before = canvas.copy() if frame.disposal is Disposal.RESTORE else canvas
        frame.paint(canvas)
        yield canvas.copy()
        if frame.disposal is Disposal.CLEAR:
            right, bottom = frame.corner[0] + frame.image.width, frame.corner[1] + frame.image.height
            canvas.paste((0, 0, 0, 0), (*frame.corner, right, bottom))
        canvas = before
