"""Compressing image files on this machine."""

from __future__ import annotations

import asyncio
import gc
import os
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from rich.progress import Progress

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.imaging.options import DEFAULT, Options, OutputFormat
from gql_imgproc.standalone import compress
from gql_imgproc.standalone.compress import Compression, FileOutcome, FileResult
from gql_imgproc.standalone.compression_record import CompressionRecord, default_path
from gql_imgproc.standalone.image_files import Destination, find_images
from gql_imgproc.standalone.sample_images import render_sample

JPEG = render_sample("lamp-on.jpg")
IN_PLACE = Destination(in_place=True)


def small_image(format: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format)
    return file.getvalue()


def run(
    path: Path | list[Path], destination: Destination, options: Options = DEFAULT, *, is_dry_run: bool = False
) -> list[FileResult]:
    """Compresses files as the command does."""
    paths = path if isinstance(path, list) else [path]
    with CompressionRecord(default_path(), options) as record, Progress(disable=True) as progress:
        files = find_images(map(str, paths), destination.folder)
        return asyncio.run(Compression(options, destination, record, is_dry_run).run(files, progress))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "lamp.jpg"
    path.parent.mkdir()
    path.write_bytes(JPEG)
    return path


def outcomes(results: list[FileResult]) -> list[FileOutcome]:
    return [result.outcome for result in results]


def test_file_is_replaced_with_its_permissions_and_a_backup(image: Path) -> None:
    # Given a read-only image behind a link, and a backup of an earlier image with the same name,
    image.chmod(0o640)
    link = image.with_name("link.jpg")
    link.symlink_to(image.name)
    image.with_name("lamp.jpg.bak").write_bytes(b"earlier")

    # when it is compressed in place,
    (result,) = run(link, Destination(in_place=True, backup=True))

    # then the link stays, the image is smaller, and both backups exist.
    assert (result.outcome, result.target) == (FileOutcome.COMPRESSED, image)
    assert link.is_symlink()
    assert image.stat().st_size == result.bytes_after < result.bytes_before == len(JPEG)
    assert image.stat().st_mode & 0o777 == 0o640
    assert image.with_name("lamp.jpg.bak").read_bytes() == b"earlier"
    assert image.with_name("lamp.jpg.2.bak").read_bytes() == JPEG
    assert sorted(os.listdir(image.parent)) == ["lamp.jpg", "lamp.jpg.2.bak", "lamp.jpg.bak", "link.jpg"]


def test_result_in_place_is_not_compressed_again(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an image that was halved in place,
    options = Options(scale=0.5)
    run(image, IN_PLACE, options)
    halved = image.read_bytes()

    # when the same command runs again, also after the file was moved, then nothing is encoded;
    monkeypatch.setattr(compress, "compress", None)
    moved = image.rename(image.with_name("moved.jpg"))
    assert outcomes(run(moved, IN_PLACE, options)) == [FileOutcome.SKIPPED]
    assert moved.read_bytes() == halved

    # when the options differ, or the original is there again, then it is compressed.
    monkeypatch.undo()
    assert outcomes(run(moved, IN_PLACE, Options(scale=0.9))) == [FileOutcome.COMPRESSED]
    moved.write_bytes(JPEG)
    assert outcomes(run(moved, IN_PLACE, options)) == [FileOutcome.COMPRESSED]
    assert moved.read_bytes() == halved


def test_dry_run_reports_the_sizes_and_writes_nothing(image: Path) -> None:
    (estimate,) = run(image, IN_PLACE, is_dry_run=True)
    assert image.read_bytes() == JPEG
    assert os.listdir(image.parent) == ["lamp.jpg"]

    (result,) = run(image, IN_PLACE)
    assert estimate == result


def test_folder_of_results_has_the_structure_of_the_sources(image: Path) -> None:
    # Given a folder with a subfolder, whose image cannot get smaller,
    tiny = image.parent / "sub" / "tiny.gif"
    tiny.parent.mkdir()
    tiny.write_bytes(small_image("GIF"))
    output = image.parent / "small"

    # when it is compressed into a folder inside of it, twice,
    first = run(image.parent, Destination(output))
    second = run(image.parent, Destination(output))

    # then the results are no sources, and the image that is kept is copied.
    assert outcomes(first) == [FileOutcome.COMPRESSED, FileOutcome.KEPT]
    assert outcomes(second) == [FileOutcome.SKIPPED, FileOutcome.SKIPPED]
    assert (output / "sub" / "tiny.gif").read_bytes() == tiny.read_bytes()
    assert (output / "lamp.jpg").stat().st_size == first[0].bytes_after

    # when a result is gone, then it is written again.
    (output / "lamp.jpg").unlink()
    third = run(image.parent, Destination(output))
    assert outcomes(third) == [FileOutcome.COMPRESSED, FileOutcome.SKIPPED]


def test_conversion_that_is_not_smaller_keeps_the_source(image: Path) -> None:
    tiny = image.with_name("tiny.gif")
    tiny.write_bytes(small_image("GIF"))

    results = run(image.parent, Destination(), Options(format=OutputFormat.PNG))

    assert outcomes(results) == [FileOutcome.KEPT, FileOutcome.KEPT]
    assert [result.format for result in results] == ["JPEG", "GIF"]
    assert sorted(os.listdir(image.parent)) == ["lamp.jpg", "tiny.gif"]


def test_results_with_the_same_name_are_refused(image: Path) -> None:
    # Given two images whose results would have one name, and one that is a result already,
    other = image.with_name("lamp.png")
    other.write_bytes(render_sample("lamp-plan.png"))

    # when both are converted,
    first, second = run(image.parent, Destination(image.parent / "out"), Options(format=OutputFormat.WEBP))

    # then only the first has a result, and the second says why.
    assert first.outcome is FileOutcome.COMPRESSED
    assert (second.outcome, second.error_code) == (FileOutcome.FAILED, "CONFLICT")
    assert second.error == f"Its result would replace that of {image}, at {first.target}"
    assert os.listdir(image.parent / "out") == ["lamp.webp"]


def test_folder_of_results_may_not_be_that_of_the_sources(image: Path) -> None:
    (result,) = run(image, Destination(image.parent))

    assert (result.outcome, result.error) == (FileOutcome.FAILED, f"Its result would replace the source {image}")
    assert image.read_bytes() == JPEG


def test_file_that_changes_meanwhile_is_not_replaced(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(data: bytes, *_: object) -> compress.Compressed:
        image.write_bytes(b"changed")
        return compress.Compressed(b"x", "image/jpeg", "jpg", 640, 480, ImageOutcome.COMPRESSED, None)

    monkeypatch.setattr(compress, "compress", change)

    (result,) = run(image, IN_PLACE)

    assert (result.outcome, result.error) == (FileOutcome.FAILED, "The file was changed while it was compressed")
    assert image.read_bytes() == b"changed"
    assert os.listdir(image.parent) == ["lamp.jpg"]


def test_failures_of_one_file_leave_the_others(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large, gone, odd = (image.with_name(name) for name in ("large.jpg", "gone.jpg", "odd.txt"))
    large.write_bytes(JPEG + bytes(len(JPEG)))
    gone.symlink_to("none.jpg")
    odd.write_bytes(b"not an image")
    monkeypatch.setattr(compress, "MAX_FILE_BYTES", len(JPEG))

    results = run([image, large, odd], Destination(image.parent / "out"))

    assert [result.error_code for result in results] == [None, "TOO_LARGE", "NOT_AN_IMAGE"]
    assert os.listdir(image.parent / "out") == ["lamp.jpg"]


def test_record_that_cannot_be_used_is_replaced_by_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database")
    for path in (tmp_path / "file", tmp_path / "file" / "record"):
        with CompressionRecord(path, DEFAULT) as record:
            record.add(b"source", b"result", "JPEG")
            assert record.find(b"source") == record.find(b"result")
            assert record.find(b"other") is None
    # From Python 3.13 on, a connection that was not closed causes a warning.
    gc.collect()


def test_patterns_find_images_in_folders_once(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nested = image.parent / "a" / "b" / "NESTED.JPG"
    nested.parent.mkdir(parents=True)
    nested.write_bytes(b"")
    (image.parent / "a" / "notes.txt").write_bytes(b"")
    (image.parent / "a" / "old-compressed.jpg").write_bytes(b"")
    monkeypatch.chdir(image.parents[1])

    found = find_images(["photos/**", "photos", "photos/lamp.jpg"], None)
    by_pattern = find_images(["photos/*/b/*"], None)

    assert {(str(file.path), str(file.relative)) for file in found} == {
        ("photos/lamp.jpg", "lamp.jpg"),
        ("photos/a/b/NESTED.JPG", "a/b/NESTED.JPG"),
    }
    assert [str(file.relative) for file in by_pattern] == ["a/b/NESTED.JPG"]
