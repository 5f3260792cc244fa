"""Compressing twice changes nothing: 200 drawn images for each lossy format."""

from __future__ import annotations

import random
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter

from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.exif import orientation_exif
from gql_imgproc.imaging.options import DEFAULT, Options
from tests.imaging.corpus.compression import COMPRESSED, KEPT
from tests.imaging.corpus.images import drawing, encode, photo, with_alpha

IMAGES = 200
#: Qualities of a source, around the one that the encoder gets for the default quality, and far from it.
SOURCE_QUALITIES = (20, 49, 55, 75, 90, 100)


def text(width: int, height: int, chance: random.Random) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for y in range(0, height, 12):
        pen.text((2, y), "".join(chance.choices("abc XYZ 0123", k=40)), fill=(chance.randrange(256), 0, 0))
    return image


def drawn_image(chance: random.Random) -> Image.Image:
    width, height = chance.choice([8, 40, 120, 200]), chance.choice([8, 40, 120, 200])
    kinds = {
        "flat": lambda: Image.new("RGB", (width, height), (chance.randrange(256), 90, 90)),
        "photograph": lambda: photo(width, height),
        "text": lambda: text(width, height, chance),
        "drawing": lambda: drawing(width, height, "#ffff").convert("RGB"),
        "gradient": lambda: Image.linear_gradient("L").rotate(chance.randrange(90)).resize((width, height)),
        "fine noise": lambda: Image.frombytes("RGB", (width, height), chance.randbytes(3 * width * height)),
        "coarse noise": lambda: Image.frombytes("RGB", (8, 8), chance.randbytes(192)).resize((width, height)),
    }
    image = chance.choice(list(kinds.values()))().convert("RGB").filter(ImageFilter.GaussianBlur(chance.choice([0, 1])))
    return with_alpha(image) if chance.random() < 0.2 else image


def encode_source(name: str, chance: random.Random) -> bytes:
    image = drawn_image(chance).convert("RGB") if name == "JPEG" else drawn_image(chance)
    settings: dict[str, Any] = {"quality": chance.choice(SOURCE_QUALITIES)}
    if chance.random() < 0.1:
        settings["exif"] = orientation_exif(chance.choice([3, 6, 7]))
    if name == "WEBP":
        settings["method"] = chance.choice([0, 4, 6])
    if name == "AVIF":
        settings |= {"speed": chance.choice([8, 10]), "max_threads": 1}
        settings["subsampling"] = chance.choice(["4:2:0", "4:2:2", "4:4:4"])
        # Somebody else may have compressed it several times before.
        for _ in range(chance.choice([0, 0, 1, 2])):
            image = Image.open(BytesIO(encode(image, name, **settings)))
    return encode(image, name, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF"])
def test_second_pass_keeps_every_output(name: str) -> None:
    compressed = 0
    # A saving of any size counts, unless the format needs more.
    limits = ImageLimits(min_saving_percent=0)
    for seed in range(IMAGES):
        data = encode_source(name, random.Random(seed))

        once = compress(data, DEFAULT, limits)
        twice = compress(once.data, DEFAULT, limits)
        half = compress(data, Options(scale=0.5), limits).data
        half_twice = compress(half, DEFAULT, limits)

        assert len(once.data) <= len(data), seed
        assert (twice.outcome, twice.data == once.data) == (KEPT, True), seed
        assert (half_twice.outcome, half_twice.data == half) == (KEPT, True), seed
        compressed += once.outcome is COMPRESSED
    assert compressed >= 50
