"""ZIP archives that are written as streams."""

from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gql_imgproc.requests.archive import _UniqueNames
from gql_imgproc.requests.zip_writer import ZipWriter

MODIFIED = datetime(2026, 12, 1, 23, 59, 58, tzinfo=UTC)


async def read(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def write_archive(files: dict[str, tuple[bytes, ...]]) -> bytes:
    writer = ZipWriter(MODIFIED)
    pieces = [piece for name, chunks in files.items() async for piece in writer.add_file(name, read(*chunks))]
    return b"".join((*pieces, *writer.finish()))


def assert_unzip_accepts(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    if unzip := shutil.which("unzip"):
        subprocess.run([unzip, "-tqq", path], check=True)


async def test_archive_has_the_files_with_their_time(tmp_path: Path) -> None:
    data = await write_archive({"shop.csv": (b"a,", b"b"), "empty.jpg": (), "Stühle.jpg": (b"\xff" * 70_000,)})

    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == {
            "shop.csv": b"a,b",
            "empty.jpg": b"",
            "Stühle.jpg": b"\xff" * 70_000,
        }
        info = opened.infolist()[0]
    assert (info.date_time, info.compress_type) == ((2026, 12, 1, 23, 59, 58), zipfile.ZIP_STORED)
    assert_unzip_accepts(data, tmp_path / "archive.zip")


async def test_archive_without_files() -> None:
    data = await write_archive({})
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == []
    assert len(data) == zipfile.sizeEndCentDir  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
async def test_archive_of_more_files_than_the_old_format_can_count(count: int, tmp_path: Path) -> None:
    data = await write_archive({f"{number}.jpg": (b"x",) for number in range(count)})

    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.namelist() == [f"{number}.jpg" for number in range(count)]
        assert opened.read(f"{count - 1}.jpg") == b"x"
    assert (b"PK\6\6" in data) is (count >= 65_535)
    assert_unzip_accepts(data, tmp_path / "archive.zip")


@pytest.mark.parametrize("start", [0xFFFF_FFFE, 0xFFFF_FFFF, 5 * 2**30])
async def test_file_and_directory_behind_4_gib(start: int, tmp_path: Path) -> None:
    # Given an archive that has more than 4 GiB already, which is a hole in the file,
    writer, path = ZipWriter(MODIFIED), tmp_path / "archive.zip"
    writer.position = start

    # when a file and the directory follow,
    with path.open("wb") as file:
        file.seek(start)
        async for piece in writer.add_file("chair.jpg", read(b"x" * 5)):
            file.write(piece)
        for piece in writer.finish():
            file.write(piece)

    # then both are found.
    with zipfile.ZipFile(path) as opened:
        assert opened.read("chair.jpg") == b"x" * 5
        assert opened.infolist()[0].header_offset == start


async def test_memory_grows_by_60_bytes_per_file() -> None:
    async def measure(count: int) -> int:
        tracemalloc.start()
        writer, names = ZipWriter(MODIFIED), _UniqueNames(count)
        for number in range(count):
            async for _ in writer.add_file(names.add(f"oak-chair-number-{number}-1.jpg"), read(b"x")):
                pass
        assert sum(map(len, writer.finish())) > 46 * count
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    few, many = await measure(2_000), await measure(20_000)

    assert (many - few) / 18_000 < 60
