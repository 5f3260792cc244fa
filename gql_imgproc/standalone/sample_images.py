"""Generated sample images like those of a shop: the same bytes every time, 50 to 500 KB each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

#: Side of the square noise tile that gives every image its grain, in pixels.
_GRAIN_SIDE_PX = 512


@dataclass(frozen=True, slots=True)
class Sample:
    """A product and the file names of its images; the extension selects the format."""

    product: str
    images: tuple[str, ...]


#: Thirty images. `-print` is a JPEG of low quality that cannot get smaller, so the service keeps it.
CATALOGUE = (
    Sample("Espresso machine, steel", ("espresso-front.jpg", "espresso-side.jpg", "espresso-detail.jpg")),
    Sample("Desk lamp “Arc”", ("lamp-on.jpg", "lamp-off.jpg", "lamp-plan.png")),
    Sample("Hiking boots", ("boots-pair.jpg", "boots-sole.jpg", "boots-cutout.webp")),
    Sample("Wall clock, oak", ("clock.jpg", "clock-detail.jpg", "clock-moves.gif")),
    Sample("Rucksack 24 l", ("rucksack.jpg", "rucksack-open.jpg", "rucksack-cutout.png")),
    Sample("Cookware set", ("cookware.jpg", "cookware-lid.jpg")),
    Sample("Table “Linden”", ("table.jpg", "table-top.jpg", "table-plan.png")),
    Sample("Rain jacket", ("jacket.webp", "jacket-back.webp")),
    Sample("Headphones", ("headphones.jpg", "headphones-cutout.png", "headphones.avif")),
    Sample("Teapot, cast iron", ("teapot.jpg", "teapot-print.jpg")),
    Sample("Poster “Coast”", ("poster.jpg", "poster-scan.tif")),
    Sample("Gift card", ("gift-card.gif",)),
)


def create_sample_images(folder: Path) -> int:
    """Writes every image of the catalogue to a folder; returns their number."""
    names = [name for sample in CATALOGUE for name in sample.images]
    for name in names:
        (folder / name).write_bytes(render_sample(name))
    return len(names)


def sample_csv(base_url: str) -> Iterator[list[str]]:
    """Yields the rows of a CSV file with the catalogue's image URLs, the header first."""
    yield ["S. No.", "Product Name", "Input Image Urls"]
    for number, sample in enumerate(CATALOGUE, start=1):
        yield [str(number), sample.product, ",".join(f"{base_url}/{name}" for name in sample.images)]


def render_sample(name: str) -> bytes:
    """Renders the image of a file name. The content depends only on the name."""
    random = Random(name)
    stem, _, extension = name.rpartition(".")
    if stem.endswith("-moves"):
        return _encode(_render_frames(random), "gif")
    if stem.endswith("-plan"):
        return _encode([_render_plan(random, stem)], extension)
    side = random.choice((1000, 1200, 1400, 1600))
    width, height = (side, side * 3 // 4) if random.random() < 0.6 else (side * 3 // 4, side)
    if extension in ("png", "webp", "avif", "gif", "tif"):
        width, height = width * 6 // 10, height * 6 // 10
    image = render_photo(random, width, height, stem)
    if stem.endswith("-cutout"):
        image.putalpha(_object_mask(Random(stem), image.size))
    return _encode([image], extension, quality=35 if stem.endswith("-print") else random.choice((88, 90, 92, 95)))


def render_photo(random: Random, width: int, height: int, stem: str) -> Image.Image:
    """Renders an object before a wall: soft light, a shadow, texture, a label, sensor grain."""
    size = (width, height)
    wall, paint = _random_colour(random, 150, 245), _random_colour(random, 30, 200)
    light = Image.radial_gradient("L").resize(size, Image.Resampling.BILINEAR)
    image = Image.composite(Image.new("RGB", size, _darken(wall)), Image.new("RGB", size, wall), light)
    mask = _object_mask(Random(stem), size)
    shadow = ImageChops.offset(_blur(mask), width // 40, height // 25).point(lambda value: value // 2)
    image.paste((25, 22, 20), mask=shadow)
    slope = Image.linear_gradient("L").rotate(random.choice((0, 90, 180))).resize(size, Image.Resampling.BILINEAR)
    surface = Image.composite(Image.new("RGB", size, _darken(paint)), Image.new("RGB", size, paint), slope)
    image.paste(_add_texture(surface, random), mask=mask)
    pen = ImageDraw.Draw(image)
    label = stem.split("-")[0].upper()
    pen.text((width // 20, height // 20), label, fill=_darken(wall), font=_font(height // 14))
    return _add_grain(image, random)


def _object_mask(random: Random, size: tuple[int, int]) -> Image.Image:
    """Draws the object's mask, a few shapes around the centre. Scaling up a small mask smooths its edges."""
    width, height = 400, 400 * size[1] // size[0]
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    for _ in range(random.randint(4, 7)):
        x, y = random.randint(width // 4, width * 3 // 5), random.randint(height // 4, height * 3 // 5)
        box = (x, y, x + random.randint(40, width // 4), y + random.randint(40, height // 3))
        if random.random() < 0.5:
            pen.ellipse(box, fill=255)
        else:
            pen.rounded_rectangle(box, radius=random.randint(4, 20), fill=255)
    pen.ellipse((width * 0.35, height * 0.35, width * 0.65, height * 0.75), fill=255)
    return mask.resize(size, Image.Resampling.BICUBIC)


def _blur(mask: Image.Image) -> Image.Image:
    """Returns a blurred copy. Blurring a reduced copy looks the same and is much faster."""
    small = mask.resize((mask.width // 8, mask.height // 8)).filter(ImageFilter.GaussianBlur(4))
    return small.resize(mask.size, Image.Resampling.BILINEAR)


def _add_texture(surface: Image.Image, random: Random) -> Image.Image:
    """Adds a texture like weave, leather or wood: noise at two scales."""
    coarse = _grain().resize((surface.width * 2, surface.height), Image.Resampling.BILINEAR).crop((0, 0, *surface.size))
    texture = Image.blend(coarse, _tile_noise(surface.size, random), 0.4).point(lambda value: 96 + value * 5 // 8)
    return ImageChops.multiply(surface, Image.merge("RGB", (texture, texture, texture)))


def _add_grain(image: Image.Image, random: Random) -> Image.Image:
    grain = _tile_noise(image.size, random).filter(ImageFilter.BLUR)
    return Image.blend(image, Image.merge("RGB", (grain, grain, grain)), 0.05)


def _tile_noise(size: tuple[int, int], random: Random) -> Image.Image:
    """Tiles the noise square to any size, with a random offset so that images differ."""
    tile = ImageChops.offset(_grain(), random.randrange(_GRAIN_SIDE_PX), random.randrange(_GRAIN_SIDE_PX))
    noise = Image.new("L", size)
    for x in range(0, size[0], _GRAIN_SIDE_PX):
        for y in range(0, size[1], _GRAIN_SIDE_PX):
            noise.paste(tile, (x, y))
    return noise


@cache
def _grain() -> Image.Image:
    return Image.frombytes("L", (_GRAIN_SIDE_PX, _GRAIN_SIDE_PX), Random("grain").randbytes(_GRAIN_SIDE_PX**2))


def _render_plan(random: Random, stem: str) -> Image.Image:
    """Renders a drawing with dimensions: few colours and sharp lines, which suit PNG."""
    image = Image.new("RGB", (1400, 1000), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = random.randint(60, 1200), random.randint(60, 850)
        width, height = random.randint(40, 180), random.randint(30, 130)
        pen.rectangle((x, y, x + width, y + height), outline=_random_colour(random, 0, 120), width=2)
        pen.text((x + 4, y + 4), f"{width} x {height} mm", fill=(60, 60, 60), font=_font(16))
    pen.text((60, 940), stem, fill="black", font=_font(32))
    return image


def _render_frames(random: Random) -> list[Image.Image]:
    """Renders twelve frames of a rotating clock hand."""
    still = render_photo(random, 360, 360, "clock").quantize(64).convert("RGB")
    frames = []
    for step in range(12):
        hand = Image.new("L", still.size)
        ImageDraw.Draw(hand).pieslice((90, 90, 270, 270), step * 30 - 4, step * 30 + 4, fill=255)
        frame = still.copy()
        frame.paste((20, 20, 20), mask=hand)
        frames.append(frame)
    return frames


def _encode(frames: list[Image.Image], extension: str, quality: int = 90) -> bytes:
    first, *others = frames
    options: dict[str, dict[str, Any]] = {
        "jpg": {"format": "JPEG", "quality": quality},
        "png": {"format": "PNG"},
        "webp": {"format": "WEBP", "quality": quality, "method": 2},
        "avif": {"format": "AVIF", "quality": quality, "speed": 10},
        "tif": {"format": "TIFF", "compression": "tiff_lzw"},
        "gif": {"format": "GIF"}
        | ({"save_all": True, "append_images": others, "duration": 80, "loop": 0} if others else {}),
    }
    out = io.BytesIO()
    first.save(out, **options[extension])
    return out.getvalue()


def _random_colour(random: Random, low: int, high: int) -> tuple[int, int, int]:
    return random.randint(low, high), random.randint(low, high), random.randint(low, high)


def _darken(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    red, green, blue = (value * 11 // 20 for value in colour)
    return red, green, blue


#: Returns the label font in a size.
_font: Callable[[float], ImageFont.FreeTypeFont | ImageFont.ImageFont] = cache(ImageFont.load_default)
