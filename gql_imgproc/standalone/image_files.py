"""Image files on this machine: finds sources, chooses the paths of results, and writes these."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path

from gql_imgproc.errors import ImgprocError

#: Extensions of the files of a folder that are images. Phones write HEIC, which needs another format: each such
#: file is reported.
_EXTENSIONS = "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "avif", "gif", "tif", "tiff", "bmp", "heic", "heif"
#: Ends the name of a result next to its source.
RESULT_MARK = "-compressed"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A source. `relative` is its path below the folder that was named."""

    path: Path
    relative: Path


@dataclass(frozen=True, slots=True)
class Destination:
    """Where results belong: in a folder, in place of their sources, or else next to them."""

    folder: Path | None = None
    in_place: bool = False
    #: Whether a replaced source stays under another name.
    backup: bool = False

    def target(self, file: ImageFile, extension: str | None) -> Path:
        """The path of a result, with another extension than that of its source if that is specified."""
        if self.in_place:
            # A link stays a link.
            return Path(os.path.realpath(file.path))
        name = file.path.name if extension is None else f"{file.path.stem}.{extension}"
        if self.folder is not None:
            return self.folder / file.relative.parent / name
        path = Path(name)
        return file.path.with_name(f"{path.stem}{RESULT_MARK}{path.suffix}")


def find_images(paths: Iterable[str], output: Path | None) -> list[ImageFile]:
    """Returns all named files, and the images in folders and patterns, each once. Raises ImgprocError.

    Hidden files, links in folders, results of earlier runs and the folder `output` are left out.
    """
    found = dict[str, ImageFile]()
    for text in paths:
        if os.path.isfile(text):
            files = iter([ImageFile(Path(text), Path(Path(text).name))])
        elif os.path.isdir(text):
            files = _walk(Path(text), Path(text), output)
        elif has_magic(text) and (matches := sorted(glob(text, recursive=True))):
            base = Path(*takewhile(lambda part: not has_magic(part), Path(text).parts))
            files = (file for match in matches for file in _walk(Path(match), base, output))
        else:
            raise ImgprocError(f"No such file or folder: {text}")
        for file in files:
            found.setdefault(os.path.realpath(file.path), file)
    return list(found.values())


def _walk(path: Path, base: Path, output: Path | None) -> Iterator[ImageFile]:
    """The images in a folder, or a file if it is an image."""
    left_out = output and os.path.realpath(output)
    if _is_image(path):
        yield ImageFile(path, path.relative_to(base))
    for parent, folders, names in os.walk(path):
        visible = (name for name in folders if name[0] != ".")
        folders[:] = sorted(name for name in visible if os.path.realpath(Path(parent, name)) != left_out)
        for file in (Path(parent, name) for name in sorted(names)):
            if _is_image(file):
                yield ImageFile(file, file.relative_to(base))


def _is_image(path: Path) -> bool:
    is_meant = path.name[:1] != "." and path.suffix[1:].lower() in _EXTENSIONS and not path.stem.endswith(RESULT_MARK)
    return is_meant and path.is_file() and not path.is_symlink()


def write_result(data: bytes, source: ImageFile, target: Path, before: os.stat_result, *, backup: bool) -> None:
    """Writes a result completely or not at all, with the permissions of its source. Raises OSError.

    `before` is the status of the source when it was read: a source that has changed since then is not replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(prefix=".gql-imgproc-", suffix=".part", dir=target.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(source.path, partial)
        now = source.path.stat()
        if (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
            raise OSError(0, "The file was changed while it was compressed")
        if backup:
            _back_up(target)
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _back_up(path: Path) -> None:
    """Gives the file another name as well, which no earlier backup has."""
    number = 0
    while True:
        number += 1
        backup = path.with_name(f"{path.name}.{number}.bak" if number > 1 else f"{path.name}.bak")
        try:
            os.link(path, backup)
            return
        except FileExistsError:
            continue
        except OSError:
            # This file system has no hard links.
            if not backup.exists():
                shutil.copy2(path, backup)
                return
