"""`gql-imgproc compress` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gql_imgproc.standalone.sample_images import render_sample
from tests.imaging.corpus import heic
from tests.support.commands import start_command
from tests.support.waiting import until

SAMPLES = "lamp-on.jpg", "boots-cutout.webp"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder without settings, with a cache folder of its own, and with no Redis."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "gql_imgproc", "compress", *arguments],
        cwd=folder,
        env=environment | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def images_of(process: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {image["source"]: image for image in json.loads(process.stdout)["images"]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / SAMPLES[0]).write_bytes(render_sample(SAMPLES[0]))
    (folder / "sub" / SAMPLES[1]).write_bytes(render_sample(SAMPLES[1]))
    return folder


def test_folder_is_compressed_next_to_its_images_and_skipped_the_next_time(photos: Path) -> None:
    # Given a folder with an image, another one in a subfolder, and other files,
    (photos / "notes.txt").write_text("no image")
    (photos / ".hidden.jpg").write_bytes(b"no image")
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}

    # when it is compressed twice,
    first = run(photos.parent, "photos")
    second = run(photos.parent, "photos", "--json")

    # then the table lists both images, the sources are as they were, and the second run writes nothing.
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "2 images" in first.stdout
    assert "2/2" in first.stderr
    results = {path for path in photos.rglob("*") if path.is_file()} - set(before)
    assert {path.name for path in results} == {"lamp-on-compressed.jpg", "boots-cutout-compressed.webp"}
    assert all(path.read_bytes() == data for path, data in before.items())
    images = images_of(second)
    assert {image["outcome"] for image in images.values()} == {"SKIPPED"}
    assert {Path(image["target"]) for image in images.values()} == {path.relative_to(photos.parent) for path in results}
    assert all(image["bytesAfter"] < image["bytesBefore"] for image in images.values())


def test_exit_status_and_messages_name_the_images_that_failed(photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (photos / "phone.heic").write_bytes(heic.build(heic.coded()))

    some = run(photos.parent, "photos", "--quiet")
    every = run(photos.parent, "photos/broken.jpg", "--json")

    assert (some.returncode, some.stdout) == (3, "")
    assert [line.split(": ")[0] for line in some.stderr.splitlines()] == ["photos/broken.jpg", "photos/phone.heic"]
    assert "A HEIC image can be read, but not written." in some.stderr
    assert every.returncode == 1
    assert images_of(every)["photos/broken.jpg"]["error"]["code"] == "CORRUPT"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--in-place", "--output", "small"], "gql-imgproc: Choose either --in-place or --output\n"),
        (["photos", "--backup"], "gql-imgproc: --backup requires --in-place; otherwise no file is replaced\n"),
        (
            ["photos", "--in-place", "--format", "webp"],
            "gql-imgproc: --in-place keeps the name and format of each file. Use --output DIR with --format\n",
        ),
        (["photos", "--output", "photos/lamp-on.jpg"], "gql-imgproc: --output photos/lamp-on.jpg is not a folder\n"),
        (["photos", "--crop", "1,2,3"], "Use four whole numbers, such as 0,0,800,600\n"),
        (["photos", "--quality", "0"], "greater than or equal to 1"),
    ],
)
def test_usage_errors_have_status_2_and_write_nothing(photos: Path, arguments: list[str], message: str) -> None:
    process = run(photos.parent, *arguments)

    assert (process.returncode, process.stdout) == (2, "")
    assert message in process.stderr
    assert sorted(path.name for path in photos.rglob("*.*")) == sorted(SAMPLES)


async def test_interrupt_leaves_whole_files_and_the_next_run_continues(photos: Path) -> None:
    # Given a run over many images that was interrupted after the first result,
    source = (photos / SAMPLES[0]).read_bytes()
    for number in range(400):
        (photos / f"{number}.jpg").write_bytes(source)
    arguments = "compress", "photos", "--json"
    process = await start_command(photos.parent, *arguments, XDG_CACHE_HOME=str(photos.parent / "cache"))
    await until(lambda: any(name.endswith("-compressed.jpg") for name in os.listdir(photos)))
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()

    # then it has printed no traceback, and every file is complete.
    assert (process.returncode, stdout) == (130, b"")
    assert b"Traceback" not in stderr
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(photos)}
    results = {name: size for name, size in sizes.items() if name.endswith("-compressed.jpg")}
    assert len(results) < 401
    assert len(set(results.values())) == 1
    assert not [name for name in sizes if name.startswith(".")]

    # When it runs again, then only the others are compressed.
    again = run(photos.parent, "photos", "--json")
    outcomes = [image["outcome"] for image in images_of(again).values()]
    assert (again.returncode, outcomes.count("SKIPPED")) == (0, len(results))
    assert outcomes.count("COMPRESSED") == 402 - len(results)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (".", "There are no images in ."),
        ("none/", "No such file or folder: none/"),
        ("*.jpg", "No such file or folder: *.jpg"),
    ],
)
def test_missing_images_are_reported(tmp_path: Path, path: str, message: str) -> None:
    process = run(tmp_path, path)

    assert (process.returncode, process.stdout, process.stderr) == (1, "", f"gql-imgproc: {message}\n")
