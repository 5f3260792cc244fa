"""The command `compress`: image files on this machine, without any service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from rich.progress import Progress

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError
from gql_imgproc.imaging.compress import Compressed, Header, ImageLimits, compress, inspect
from gql_imgproc.imaging.errors import too_large
from gql_imgproc.imaging.formats import FORMATS
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.standalone.compression_record import CompressionRecord
from gql_imgproc.standalone.image_files import Destination, ImageFile, write_result
from gql_imgproc.standalone.terminal import FormatTotals, format_size
from gql_imgproc.system.cpu_pool import CpuPool
from gql_imgproc.system.process import cpu_count, reuse_freed_memory

#: Megapixels being decoded at once: the default of IMGPROC_MEGAPIXELS_IN_FLIGHT.
MEGAPIXELS_IN_FLIGHT = 100
#: Largest file that is read. 50 megapixels take 200 MB if they are not compressed.
MAX_FILE_BYTES = 256 * 2**20
LIMITS = ImageLimits()


class FileOutcome(StrEnum):
    COMPRESSED = "COMPRESSED"
    KEPT = "KEPT"  # its result would not be smaller
    SKIPPED = "SKIPPED"  # an earlier run has compressed it
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class FileResult:
    """The outcome of one file, and its sizes. `target` is the path of its result."""

    source: Path
    outcome: FileOutcome
    target: Path | None = None
    format: str | None = None
    bytes_before: int = 0
    bytes_after: int = 0
    error_code: str | None = None
    error: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class _Source:
    """A file that was read."""

    file: ImageFile
    data: bytes
    header: Header
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Compression:
    """How files are compressed."""

    options: Options
    destination: Destination
    record: CompressionRecord
    is_dry_run: bool = False

    async def run(self, files: Sequence[ImageFile], progress: Progress) -> list[FileResult]:
        """Compresses files on all cores; returns their results in the order of the files."""
        reuse_freed_memory()
        results = self._refuse_conflicts(files)
        task = progress.add_task("images", total=len(files), completed=len(results), note="")
        waiting = iter([file for file in files if file not in results])
        cores = cpu_count()
        pool = CpuPool(cores, MEGAPIXELS_IN_FLIGHT)

        totals = FormatTotals()

        async def work() -> None:
            for file in waiting:
                result = results[file] = await self._process(file, pool)
                totals.add(result.outcome, result.bytes_before, result.bytes_after)
                progress.update(task, advance=1, note=totals.sizes)

        try:
            async with asyncio.TaskGroup() as workers:
                # While some files are compressed, others are read and written.
                for _ in range(2 * cores):
                    workers.create_task(work())
        finally:
            pool.close()
        return [results[file] for file in files]

    def _refuse_conflicts(self, files: Sequence[ImageFile]) -> dict[ImageFile, FileResult]:
        """Refuses files whose result would replace a source, or the result of an earlier file."""
        sources = {os.path.realpath(file.path) for file in files}
        targets = dict[str, Path]()
        refused = {}
        for file in [] if self.destination.in_place else files:
            target = os.path.realpath(self._target(file, is_kept=False))
            if target in sources:
                refused[file] = _failure(file, "CONFLICT", f"Its result would replace the source {target}")
            elif (other := targets.setdefault(target, file.path)) is not file.path:
                refused[file] = _failure(file, "CONFLICT", f"Its result would replace that of {other}, at {target}")
        return refused

    def _target(self, file: ImageFile, *, is_kept: bool) -> Path:
        has_own_format = is_kept or self.options.format is OutputFormat.ORIGINAL
        return self.destination.target(file, None if has_own_format else FORMATS[self.options.format].extension)

    async def _process(self, file: ImageFile, pool: CpuPool) -> FileResult:
        """Compresses one file. Every error becomes its result."""
        try:
            source = await asyncio.to_thread(self._read, file)
            if earlier := await asyncio.to_thread(self._find_earlier_result, source):
                return earlier
            image = await pool.run(source.header.megapixels, partial(self._encode, source))
            return await asyncio.to_thread(self._store, source, image)
        except ImageError as error:
            return _failure(file, error.code, error.message)
        except OSError as error:
            return _failure(file, "FILE", error.strerror or str(error))
        except Exception as error:
            return _failure(file, "INTERNAL", f"Internal error: {error!r}")

    def _read(self, file: ImageFile) -> _Source:
        with file.path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise too_large(f"The file is larger than the limit of {format_size(MAX_FILE_BYTES)}.")
        return _Source(file, data, inspect(data, LIMITS), status)

    def _find_earlier_result(self, source: _Source) -> FileResult | None:
        """Returns the result of an earlier run with the same bytes and options, if its file still exists."""
        recorded = self.record.find(source.data)
        if recorded is None:
            return None
        is_kept = recorded.size_bytes == len(source.data)
        target = self._target(source.file, is_kept=is_kept)
        if not self._is_written(is_kept=is_kept):
            target = source.file.path
        elif self.destination.in_place or not (target.is_file() and target.stat().st_size == recorded.size_bytes):
            return None
        sizes = len(source.data), recorded.size_bytes
        return FileResult(source.file.path, FileOutcome.SKIPPED, target, recorded.format, *sizes)

    def _is_written(self, *, is_kept: bool) -> bool:
        """Whether there is a file to write: a source that is kept is copied only into a folder of results."""
        return not is_kept or self.destination.folder is not None

    def _encode(self, source: _Source) -> Compressed:
        """Compresses an image. A conversion that would make it larger keeps it."""
        image = compress(source.data, self.options, LIMITS)
        header = source.header
        if image.has_new_pixels or len(image.data) <= len(source.data):
            return image
        kept = replace(image, data=source.data, outcome=ImageOutcome.KEPT, media_type=header.media_type)
        return replace(kept, similarity=100.0, warning=None)

    def _store(self, source: _Source, image: Compressed) -> FileResult:
        is_kept = image.outcome is ImageOutcome.KEPT
        is_written = self._is_written(is_kept=is_kept)
        target = self._target(source.file, is_kept=is_kept) if is_written else source.file.path
        name = image.media_type.removeprefix("image/").upper()
        if not self.is_dry_run:
            if is_written:
                write_result(image.data, source.file, target, source.status, backup=self.destination.backup)
            self.record.add(source.data, image.data, name)
        outcome, sizes = FileOutcome(image.outcome), (len(source.data), len(image.data))
        return FileResult(source.file.path, outcome, target, name, *sizes, warning=image.warning)


def _failure(file: ImageFile, code: str, message: str) -> FileResult:
    return FileResult(file.path, FileOutcome.FAILED, error_code=code, error=message)
