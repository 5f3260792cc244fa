from __future__ import annotations

import csv
import io
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_products import PRODUCTS
from gql_imgproc.standalone.sample_server import serve_images

NAMES = [name for sample in sample_images.CATALOGUE for name in sample.images]


def test_catalogue_has_thirty_images_in_six_formats() -> None:
    assert len(NAMES) == len(set(NAMES)) == 30
    assert {name.rpartition(".")[2] for name in NAMES} == {"jpg", "png", "webp", "gif", "avif", "tif"}


def test_same_name_renders_the_same_bytes() -> None:
    assert sample_images.render_sample("jacket.webp") == sample_images.render_sample("jacket.webp")
    assert sample_images.render_sample("jacket.webp") != sample_images.render_sample("jacket-back.webp")


@pytest.mark.parametrize(
    ("name", "kind", "frames", "mode"),
    [
        ("cookware.jpg", "JPEG", 1, "RGB"),
        ("headphones-cutout.png", "PNG", 1, "RGBA"),
        ("boots-cutout.webp", "WEBP", 1, "RGBA"),
        ("clock-moves.gif", "GIF", 12, "P"),
        ("poster-scan.tif", "TIFF", 1, "RGB"),
    ],
)
def test_image_format_follows_its_name(name: str, kind: str, frames: int, mode: str) -> None:
    data = sample_images.render_sample(name)

    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, getattr(image, "n_frames", 1), image.mode) == (kind, frames, mode)
    assert 10_000 < len(data) < 500_000


def test_sample_csv_lists_every_image_once() -> None:
    rows = list(sample_images.sample_csv("http://host"))

    assert rows[0] == ["S. No.", "Product Name", "Input Image Urls"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 13)]
    assert [url for row in rows[1:] for url in row[2].split(",")] == [f"http://host/{name}" for name in NAMES]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    assert list(csv.reader(io.StringIO(text.getvalue()))) == rows


def test_sample_server_serves_its_folder_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"image")

    with serve_images(tmp_path) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/a.jpg") as response:
        assert (response.read(), response.headers["Content-Type"]) == (b"image", "image/jpeg")

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/a.jpg")


def test_every_product_is_drawn_and_differs_from_the_others() -> None:
    # Only the first view of each product: others show it from another side.
    drawn = [sample_images.render_sample(sample.images[0]) for sample in sample_images.CATALOGUE]

    assert set(PRODUCTS) == {sample.images[0].rpartition(".")[0].split("-")[0] for sample in sample_images.CATALOGUE}
    assert len(set(drawn)) == len(PRODUCTS) == 12


@pytest.mark.parametrize("name", ["boots-cutout.webp", "rucksack-cutout.png", "headphones-cutout.png"])
def test_cutout_is_transparent_around_its_product(name: str) -> None:
    with Image.open(io.BytesIO(sample_images.render_sample(name))) as image:
        alpha = image.getchannel("A")

    width, height = alpha.size
    corners = [alpha.getpixel((x, y)) for x in (0, width - 1) for y in (0, height - 1)]
    left, top, right, bottom = alpha.getbbox() or (0, 0, 0, 0)
    assert (corners, alpha.getextrema()) == ([0] * 4, (0, 255))
    assert (right - left) * 2 > width
    assert (bottom - top) * 4 > height
