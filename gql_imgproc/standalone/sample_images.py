"""Generated sample images like those of a shop: the same bytes every time, 50 to 500 KB each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from gql_imgproc.standalone.sample_products import PRODUCTS, Colour, Finish, Part, SampleProduct, Shape

#: Views that show the other side, and those that are taken from close up.
_MIRRORED = ("side", "off", "back", "sole", "open")
_CLOSE = ("detail", "lid", "top")
_SHADOW = (30, 26, 24)
#: Side of the square in which a part is drawn, in pixels.
_MASK_SIDE_PX = 1000


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
        image.putalpha(_object_mask(stem, image.size))
    return _encode([image], extension, quality=35 if stem.endswith("-print") else random.choice((88, 90, 92, 95)))


def render_photo(random: Random, width: int, height: int, stem: str) -> Image.Image:
    """Renders a product in a studio: soft light, a floor or a wall, shadows, texture, sensor grain."""
    product, view = PRODUCTS[stem.split("-")[0]], stem.partition("-")[2]
    image = _render_studio(product, (width, height))
    parts = [(_place(part.shape, view, image.size), part) for part in product.parts]
    _cast_shadow(image, _unite(mask for mask, _ in parts), product)
    for mask, part in parts:
        if bounds := mask.getbbox():
            surface = _render_surface(part, (bounds[2] - bounds[0], bounds[3] - bounds[1]), random)
            image.paste(surface, bounds[:2], mask.crop(bounds))
    grain = _noise(image.size, random).filter(ImageFilter.BLUR)
    return Image.blend(image, Image.merge("RGB", (grain, grain, grain)), 0.05)


def _object_mask(stem: str, size: tuple[int, int]) -> Image.Image:
    product, view = PRODUCTS[stem.split("-")[0]], stem.partition("-")[2]
    return _unite(_place(part.shape, view, size) for part in product.parts)


def _place(shape: Shape, view: str, size: tuple[int, int]) -> Image.Image:
    """Draws the mask of a part at its place in the image. Scaling the mask smooths its edges."""
    mask = Image.new("L", (_MASK_SIDE_PX, _MASK_SIDE_PX))
    shape(ImageDraw.Draw(mask), _MASK_SIDE_PX / 100)
    if view in _MIRRORED:
        mask = ImageOps.mirror(mask)
    # Only the part of the mask that is drawn: the rest takes most of the time.
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    crop = max(0, left - 2), max(0, top - 2), min(_MASK_SIDE_PX, right + 2), min(_MASK_SIDE_PX, bottom + 2)
    side = min(size) * (1.9 if view in _CLOSE else 0.92)
    scaled = [round(value * side / _MASK_SIDE_PX) for value in crop]
    part = mask.crop(crop).resize((scaled[2] - scaled[0], scaled[3] - scaled[1]), Image.Resampling.BICUBIC)
    placed = Image.new("L", size)
    placed.paste(part, (scaled[0] + round((size[0] - side) / 2), scaled[1] + round((size[1] - side) * 0.45)))
    return placed


def _unite(masks: Iterable[Image.Image]) -> Image.Image:
    first, *others = masks
    for mask in others:
        first = ImageChops.lighter(first, mask)
    return first


def _render_studio(product: SampleProduct, size: tuple[int, int]) -> Image.Image:
    """Renders a wall that is darker towards the corners, and a lighter floor that has no edge."""
    light = Image.radial_gradient("L").resize(size, Image.Resampling.BILINEAR)
    wall = Image.composite(
        Image.new("RGB", size, _shade(product.wall, 0.62)), Image.new("RGB", size, product.wall), light
    )
    if product.stands:
        floor = Image.linear_gradient("L").point(lambda value: max(0, min(255, (value - 165) * 5))).resize(size)
        wall = Image.composite(
            Image.new("RGB", size, _shade(product.wall, 1.09)), wall, floor.point(lambda value: value * 3 // 4)
        )
    return wall


def _cast_shadow(image: Image.Image, mask: Image.Image, product: SampleProduct) -> None:
    """Casts a soft shadow to the lower right, and a dark one where the product stands."""
    width, height = image.size
    soft = ImageChops.offset(_blur(mask), width // 40, height // 28)
    image.paste(_SHADOW, mask=soft.point(lambda value: value * 2 // 5))
    bounds = mask.getbbox()
    if product.stands and bounds:
        contact, depth = Image.new("L", image.size), max(8, height // 50)
        box = bounds[0] + depth, bounds[3] - 2 * depth, bounds[2] + depth, bounds[3] + depth
        ImageDraw.Draw(contact).ellipse(box, fill=255)
        image.paste(_SHADOW, mask=_blur(contact).point(lambda value: value * 3 // 5))


def _render_surface(part: Part, size: tuple[int, int], random: Random) -> Image.Image:
    """Renders the surface of a part in its light."""
    light = _LIGHTS[part.finish]()
    if part.finish is Finish.BALL:
        # The brightest place is up on the left.
        light = light.crop((90, 105, 256, 256))
    shade = light.resize(size, Image.Resampling.BICUBIC)
    dark, bright = Image.new("RGB", size, _shade(part.colour, 0.42)), Image.new("RGB", size, _shade(part.colour, 1.22))
    surface = Image.composite(bright, dark, shade)
    return _add_texture(surface, part.finish, random) if part.finish in _TEXTURES else surface


def _profile(*levels: int) -> Image.Image:
    """Light across a surface, from left to right."""
    return Image.frombytes("L", (len(levels), 1), bytes(levels))


#: The light on each finish.
_LIGHTS: dict[Finish, Callable[[], Image.Image]] = {
    Finish.FLAT: lambda: Image.linear_gradient("L").point(lambda value: 190 - value // 4),
    Finish.ROUND: lambda: _profile(70, 170, 225, 200, 150, 95, 45, 30, 60),
    Finish.BALL: lambda: ImageOps.invert(Image.radial_gradient("L")),
    Finish.METAL: lambda: _profile(90, 190, 255, 165, 120, 140, 205, 150, 70, 60, 110),
    Finish.CLOTH: lambda: _profile(95, 160, 185, 170, 140, 105, 70),
    Finish.WOOD: lambda: _profile(150, 180, 190, 170, 150, 130),
}
#: Scale of the texture across and along, and its strength in percent.
_TEXTURES = {Finish.CLOTH: (1, 1, 22), Finish.WOOD: (24, 1, 26), Finish.METAL: (40, 1, 8)}


def _add_texture(surface: Image.Image, finish: Finish, random: Random) -> Image.Image:
    """Adds weave, veins of wood, or brushed metal: noise that is stretched."""
    across, along, percent = _TEXTURES[finish]
    noise = _noise((surface.width // across + 1, surface.height // along + 1), random)
    noise = noise.filter(ImageFilter.BLUR).resize(surface.size, Image.Resampling.BICUBIC)
    texture = noise.point(lambda value: 255 - (255 - value) * percent // 100)
    return ImageChops.multiply(surface, Image.merge("RGB", (texture, texture, texture)))


def _blur(mask: Image.Image) -> Image.Image:
    """Returns a blurred copy. Blurring a reduced copy looks the same and is much faster."""
    small = mask.resize((mask.width // 8, mask.height // 8)).filter(ImageFilter.GaussianBlur(4))
    return small.resize(mask.size, Image.Resampling.BILINEAR)


def _noise(size: tuple[int, int], random: Random) -> Image.Image:
    return Image.frombytes("L", size, random.randbytes(size[0] * size[1]))


def _render_plan(random: Random, stem: str) -> Image.Image:
    """Renders a drawing with dimensions: few colours and sharp lines, which suit PNG."""
    image = Image.new("RGB", (1400, 1000), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = random.randint(60, 1200), random.randint(60, 850)
        width, height = random.randint(40, 180), random.randint(30, 130)
        pen.rectangle((x, y, x + width, y + height), outline=tuple(random.choices(range(120), k=3)), width=2)
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


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


#: Returns the label font in a size.
_font: Callable[[float], ImageFont.FreeTypeFont | ImageFont.ImageFont] = cache(ImageFont.load_default)
