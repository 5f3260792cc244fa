"""PNGs like those of a shop: photographs, screenshots, cut-outs with soft alpha, logos."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from benchmarks.images import crop_photographs

#: Images of each kind, 20 together, and the sides of their photographs in pixels.
KINDS = {"photograph": 6, "screenshot": 5, "cut-out": 5, "logo": 4}
_SIDES = (600, 1000)
_WORDS = [
    "order",
    "product",
    "image",
    "upload",
    "quality",
    "size",
    "price",
    "stock",
    "colour",
    "delivery",
    "report",
    "total",
    "row",
    "column",
    "host",
]


def make_pngs(photographs: Path | None, seed: int) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image. The photographs are drawn if there is no folder of them."""
    chance = random.Random(seed)
    photos = crop_photographs(chance, sum(KINDS.values()), photographs, _SIDES)
    render = {"photograph": lambda photo: photo, "screenshot": _screenshot, "cut-out": _cut_out, "logo": _logo}
    for kind, count in KINDS.items():
        for number in range(count):
            image = render[kind](next(photos)) if kind == "photograph" else render[kind](next(photos), chance)
            out = io.BytesIO()
            image.save(out, "PNG")
            yield f"{kind} {number + 1}", out.getvalue()


def _screenshot(photo: Image.Image, chance: random.Random) -> Image.Image:
    """A window with a gradient in its bar, text, a chart, and a small photograph."""
    size = chance.choice([(1280, 800), (1440, 900), (1024, 768)])
    image = Image.new("RGB", size, chance.choice(["#ffffff", "#f6f8fa", "#1e1f24"]))
    is_dark = image.getpixel((0, 0)) == (30, 31, 36)
    bar = Image.linear_gradient("L").resize((size[0], 64))
    image.paste(Image.merge("RGB", [bar.point(lambda n, k=k: 40 + k + n // 6) for k in (0, 20, 60)]), (0, 0))
    pen = ImageDraw.Draw(image)
    ink = "#d8dae0" if is_dark else "#24292f"
    for y in range(90, size[1] - 40, 22):
        text = " ".join(chance.choice(_WORDS) for _ in range(chance.randint(4, 9)))
        pen.text((32, y), text, fill=ink, font=ImageFont.load_default(15))
    for n in range(9):
        pen.rectangle(
            (560 + n * 34, 400 - chance.randint(20, 180), 584 + n * 34, 400), fill=chance.choice(["#0969da", "#54aeff"])
        )
    image.paste(photo.resize((240, 160), Image.Resampling.LANCZOS), (size[0] - 300, 470))
    return image


def _cut_out(photo: Image.Image, chance: random.Random) -> Image.Image:
    """An object of the photograph with soft edges, before nothing, with a shadow."""
    mask = Image.new("L", photo.size)
    pen = ImageDraw.Draw(mask)
    width, height = photo.size
    for _ in range(4):
        x, y = chance.randint(width // 8, width // 2), chance.randint(height // 8, height // 2)
        pen.ellipse(
            (x, y, x + chance.randint(width // 5, width // 3), y + chance.randint(height // 5, height // 3)), 255
        )
    mask = mask.filter(ImageFilter.GaussianBlur(chance.choice([1.5, 3, 6])))
    shadow = Image.new("RGBA", photo.size)
    shadow.putalpha(mask.filter(ImageFilter.GaussianBlur(16)).point(lambda n: n // 2))
    cut = photo.convert("RGBA")
    cut.putalpha(mask)
    out = Image.new("RGBA", photo.size)
    out.alpha_composite(shadow, (0, 12), (0, 0, width, height - 12))
    out.alpha_composite(cut)
    return out


def _logo(_: Image.Image, chance: random.Random) -> Image.Image:
    """Smooth shapes with gradients and a name on a transparent ground."""
    side = 1200
    image = Image.new("RGBA", (side * 2, side))
    for _n in range(5):
        mask = Image.new("L", image.size)
        x, y, radius = chance.randint(100, 900), chance.randint(100, 700), chance.randint(150, 400)
        ImageDraw.Draw(mask).ellipse((x, y, x + radius, y + radius), fill=chance.randint(140, 255))
        ramp = Image.linear_gradient("L").rotate(90 * chance.randint(0, 3)).resize(image.size)
        levels = [chance.randint(0, 160) for _channel in range(3)]
        ink = Image.merge("RGB", [ramp.point(lambda n, k=level: k + n // 3) for level in levels])
        image.paste(ink, mask=mask)
    ImageDraw.Draw(image).text(
        (1250, 450), chance.choice(_WORDS).title(), fill="#223", font=ImageFont.load_default(240)
    )
    return image.resize((side // 2, side // 4), Image.Resampling.LANCZOS)
