"""Peak memory of one method for one image, in a process of its own (Linux only).

`python -m benchmarks.peak_memory METHOD FILE` prints by how many MiB the peak of the resident memory grew.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

from PIL import Image

from benchmarks.compression_methods import METHODS


def peak_mib(method: str, path: Path) -> float:
    child = [sys.executable, "-m", "benchmarks.peak_memory", method, str(path)]
    return float(subprocess.run(child, capture_output=True, text=True, check=True).stdout)


def _peak_kib() -> int:
    # Not `ru_maxrss`, which a child inherits from its parent.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _main(method: str, path: Path) -> None:
    data = path.read_bytes()
    small = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(small, "JPEG", quality=95)
    # The first image loads plug-ins and libraries, which do not count.
    METHODS[method](small.getvalue())
    before = _peak_kib()
    METHODS[method](data)
    print((_peak_kib() - before) / 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    _main(arguments.method, arguments.file)
