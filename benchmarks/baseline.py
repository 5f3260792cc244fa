"""The bare loop: two processes that fetch and save pictures, and do nothing else.

`python -m benchmarks.baseline new|kept URL-FILE` prints seconds and CPU seconds. `new` is `httpx.get` for each
image, `kept` one client with kept-alive connections for each process.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from PIL import Image

PROCESSES = 2


def loop(addresses: list[str], fetch: Callable[[str], httpx.Response]) -> None:
    for address in addresses:
        out = io.BytesIO()
        Image.open(io.BytesIO(fetch(address).content)).save(out, "JPEG", quality=50, optimize=True)


def work(kind: str, addresses: list[str]) -> None:
    if kind == "new":
        loop(addresses, httpx.get)
    else:
        with httpx.Client() as client:
            loop(addresses, client.get)


if __name__ == "__main__":
    kind, addresses = sys.argv[1], Path(sys.argv[2]).read_text().split()
    started = time.perf_counter()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(kind, addresses[n::PROCESSES])) for n in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)
