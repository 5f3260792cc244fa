"""Images like those of a shop: JPEGs of about 1.24 megapixels at quality 85 to 95, half 4:2:0 and half 4:4:4."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from gql_imgproc.standalone.sample_images import render_photo
from gql_imgproc.standalone.sample_products import PRODUCTS

#: Minimum and maximum side of a crop in pixels. The mean area is about 1.24 megapixels.
SIDES = (800, 1400)


def write_images(folder: Path, count: int, photographs: Path | None, sides: tuple[int, int] = SIDES) -> None:
    """Writes `count` images, named by number: crops of the photographs if there are any, otherwise drawn images."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(50)
    for number, crop in enumerate(crop_photographs(chance, count, photographs, sides)):
        crop.save(
            folder / f"{number}.jpg", quality=chance.randint(85, 95), subsampling="4:2:0" if number % 2 else "4:4:4"
        )


def crop_photographs(
    chance: random.Random, count: int, photographs: Path | None, sides: tuple[int, int] = SIDES
) -> Iterator[Image.Image]:
    sources = [_open(path) for path in _find_large(photographs)] if photographs else []
    products = tuple(PRODUCTS)
    for _ in range(count):
        width, height = chance.randint(*sides), chance.randint(*sides)
        source = chance.choice(sources) if sources else render_photo(chance, width, height, chance.choice(products))
        left = chance.randint(0, max(0, source.width - width))
        top = chance.randint(0, max(0, source.height - height))
        yield source.crop((left, top, left + width, top + height))


def open_largest(folder: Path) -> Image.Image:
    """The photograph with the most pixels."""
    return max(map(_open, _find_large(folder)), key=lambda image: image.width * image.height)


def _find_large(folder: Path) -> list[Path]:
    paths = []
    for path in sorted(folder.rglob("*.jp*g")) + sorted(folder.rglob("*.png")):
        if path.is_file() and not path.is_symlink():
            with Image.open(path) as image:
                if image.width >= SIDES[1] and image.height >= SIDES[1] * 0.75:
                    paths.append(path)
    return paths


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")
