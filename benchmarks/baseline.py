"""The baseline: two processes that only download and re-encode images.

`python -m benchmarks.baseline KIND FILE` prints seconds and CPU seconds for the URLs in the file. The kind `new` calls
`httpx.get` for each image; `keepalive` uses one client with keep-alive connections per process.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from PIL import Image

PROCESSES = 2


def process_images(urls: list[str], fetch: Callable[[str], httpx.Response]) -> None:
    for url in urls:
        out = io.BytesIO()
        Image.open(io.BytesIO(fetch(url).content)).save(out, "JPEG", quality=50, optimize=True)


def run_process(kind: str, urls: list[str]) -> None:
    if kind == "new":
        process_images(urls, httpx.get)
    else:
        with httpx.Client() as client:
            process_images(urls, client.get)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("new", "keepalive"))
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    kind, urls = arguments.kind, arguments.file.read_text().split()
    started_at = time.perf_counter()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=run_process, args=(kind, urls[n::PROCESSES])) for n in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(time.perf_counter() - started_at, usage.ru_utime + usage.ru_stime)


if __name__ == "__main__":
    main()
