"""Compresses every file of a folder and reports the outcomes and the broken promises.

Each file is compressed twice with the default options, and once each as another format, scaled, and with all metadata.
A promise is broken if an exception is not an ImageError, an internal error occurs, a result is larger, has other
dimensions or another format, or changes in a second pass, or if options make a readable image unreadable. Exits with 1
then.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import Compressed, ImageLimits, compress, inspect
from gql_imgproc.imaging.options import Metadata, Options, OutputFormat

_CHANGES = {
    "as WebP": Options(format=OutputFormat.WEBP),
    "as JPEG": Options(format=OutputFormat.JPEG),
    "scaled": Options(scale=0.5),
    "with metadata": Options(metadata=Metadata.ALL),
}
#: Codes with which options may refuse an image that is otherwise accepted.
_ALLOWED = (ImageErrorCode.TOO_LARGE, ImageErrorCode.UNSUPPORTED_FORMAT)
#: CPU seconds of one call that are reported.
_SLOW_S = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of images; subfolders are read too")
    parser.add_argument("--max-bytes", type=int, default=30_000_000, help="files larger than this are left out")
    arguments = parser.parse_args()
    outcomes: Counter[tuple[str, str]] = Counter()
    bytes_before = bytes_after = 0
    broken: list[str] = []
    paths = [path for path in sorted(arguments.folder.rglob("*")) if path.is_file()]
    for path in paths:
        if path.stat().st_size > arguments.max_bytes:
            continue
        data = path.read_bytes()
        result = _compress(data, Options())
        outcomes[path.suffix.lower() or "none", _describe(result)] += 1
        broken += [f"{path}: {problem}" for problem in _find_broken_promises(data, result)]
        if isinstance(result, Compressed):
            bytes_before, bytes_after = bytes_before + len(data), bytes_after + len(result.data)
    for (suffix, outcome), count in sorted(outcomes.items()):
        print(f"{suffix:10} {outcome:24} {count:8}")
    saved = 1 - bytes_after / bytes_before if bytes_before else 0
    print(f"{sum(outcomes.values())} files, {saved:.1%} of the bytes saved, {len(broken)} broken promises")
    print(*broken, sep="\n")
    return int(bool(broken))


def _compress(data: bytes, options: Options) -> Compressed | Exception:
    try:
        return compress(data, options, ImageLimits())
    except Exception as error:
        # Everything is reported.
        return error


def _describe(result: Compressed | Exception) -> str:
    if isinstance(result, Compressed):
        return result.outcome.value
    return result.code.value if isinstance(result, ImageError) else type(result).__name__


def _find_broken_promises(data: bytes, result: Compressed | Exception) -> Iterator[str]:
    if isinstance(result, Exception):
        if not isinstance(result, ImageError) or result.code is ImageErrorCode.INTERNAL:
            yield f"{type(result).__name__}: {result}"
        return
    if len(result.data) > len(data):
        yield f"larger: {len(data)} to {len(result.data)} bytes"
    before, after = inspect(data, ImageLimits()), inspect(result.data, ImageLimits())
    if before != after:
        yield f"another image: {before} to {after}"
    again = _compress(result.data, Options())
    if not isinstance(again, Compressed) or again.data != result.data:
        yield f"a second pass changes it: {_describe(again)}"
    for name, options in _CHANGES.items():
        started = time.process_time()
        changed = _compress(data, options)
        if isinstance(changed, Exception) and getattr(changed, "code", None) not in _ALLOWED:
            yield f"{name}: {_describe(changed)}: {changed}"
        if (spent_s := time.process_time() - started) > _SLOW_S:
            yield f"{name}: {spent_s:.1f} CPU seconds"


if __name__ == "__main__":
    sys.exit(main())
