"""Peak memory of one way to compress one picture, in a process of its own (Linux only).

`python -m benchmarks.peak_memory WAY FILE` prints the MiB by which the resident memory grew above what it was before.
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from PIL import Image

from benchmarks.compression_methods import METHODS


def peak_mib(way: str, picture: Path) -> float:
    child = [sys.executable, "-m", "benchmarks.peak_memory", way, str(picture)]
    return float(subprocess.run(child, capture_output=True, text=True, check=True).stdout)


def _highest_kib() -> int:
    # Not `ru_maxrss`: a child begins with its parent's.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def _main(way: str, picture: Path) -> None:
    data = picture.read_bytes()
    small = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(small, "JPEG", quality=95)
    # Plug-ins and libraries that come with the first picture are no part of what a picture costs.
    METHODS[way](small.getvalue())
    before = _highest_kib()
    METHODS[way](data)
    print((_highest_kib() - before) / 1024)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
