"""Our `compress` beside what Pillow does when asked plainly, and beside libjpeg-turbo's own programs, in one run.

`python -m benchmarks.compression --photos FOLDER` with photographs (crops of them are used), else with drawn pictures.
Machines are noisy: only ratios of figures from the same run mean something.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median

from PIL import Image

from benchmarks.compression_methods import (
    METHODS,
    half,
    half_lanczos,
    half_pixels,
    half_pixels_lanczos,
    has_turbo,
    measure_side_by_side,
    naive,
    naive_optimize,
    ours,
    resize_to_half,
    turbo,
)
from benchmarks.formats import table
from benchmarks.images import largest, make
from benchmarks.peak_memory import peak_mib
from benchmarks.similarity import psnr_db
from benchmarks.targets import print_target
from gql_imgproc.standalone.sample_images import render_photo

#: Sides of the large picture: 12 megapixels, as a telephone takes them.
LARGE = (4000, 3000)
#: Between two ticks of the thread that is held up, in seconds.
TICK = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs to take crops of")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "pictures", given.pictures, given.photos)
        pictures = [(folder / "pictures" / f"{n}.jpg").read_bytes() for n in range(given.pictures)]
        large = folder / "large.jpg"
        source = largest(given.photos) if given.photos else render_photo(random.Random(12), *LARGE, "large")
        _large(source).save(large, quality=90)
        mean_mp = sum(_pixels(data) for data in pictures) / len(pictures) / 1e6
        print(f"{len(pictures)} JPEGs, mean {mean_mp:.2f} MP, and one of 12 MP; {given.rounds} rounds\n")
        speed(pictures, large.read_bytes(), given.rounds)
        size(pictures)
        if sys.platform == "linux":
            memory(large)
        threads(pictures, given.rounds)
        stalls(large.read_bytes(), given.rounds)
        halving(pictures, given.rounds)
        print()
        table(pictures)


def _large(source: Image.Image) -> Image.Image:
    """The middle of a picture that is large enough, else the picture made larger."""
    if source.width < LARGE[0] or source.height < LARGE[1]:
        return source.resize(LARGE, Image.Resampling.BICUBIC)
    left, top = (source.width - LARGE[0]) // 2, (source.height - LARGE[1]) // 2
    return source.crop((left, top, left + LARGE[0], top + LARGE[1]))


def _pixels(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as image:
        return image.width * image.height


def note(what: str, figure: float) -> None:
    print(f"{what:62} {figure:6.3f}")


def speed(pictures: list[bytes], large: bytes, rounds: int) -> None:
    mine, optimised = measure_side_by_side([ours, naive_optimize], pictures, rounds)
    share = mine / optimised
    print_target("JPEG CPU / naive with optimize=True", share, "<= 0.97", is_met=share <= 0.97)
    mine, plain = measure_side_by_side([ours, naive], pictures, rounds)
    note("JPEG CPU / naive", mine / plain)
    mine, optimised = measure_side_by_side([ours, naive_optimize], [large], rounds)
    note("12 MP CPU / naive with optimize=True", mine / optimised)
    if has_turbo():
        mine, programs = measure_side_by_side([ours, turbo], [large], rounds)
        note("12 MP CPU / djpeg | cjpeg, start of two processes included", mine / programs)


def size(pictures: list[bytes]) -> None:
    smaller, plain = [ours(data) for data in pictures], [naive(data) for data in pictures]
    equal = sum(_same(one, other) for one, other in zip(smaller, plain, strict=True))
    saved = 1 - sum(map(len, smaller)) / sum(map(len, plain))
    print_target("bytes saved against naive", saved, ">= 0.055", is_met=saved >= 0.055)
    print_target(
        "share of pictures with the same pixels as naive", equal / len(pictures), "= 1", is_met=equal == len(pictures)
    )


def _same(one: bytes, other: bytes) -> bool:
    with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
        return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def memory(large: Path) -> None:
    megapixels = LARGE[0] * LARGE[1] / 1e6
    peaks = {name: peak_mib(name, large) / megapixels for name in METHODS}
    print_target("peak memory, MiB/MP", peaks["ours"], "<= 4.5", is_met=peaks["ours"] <= 4.5)
    for name, peak in peaks.items():
        if name != "ours":
            note(f"peak memory of {name}, MiB/MP", peak)


def threads(pictures: list[bytes], rounds: int) -> None:
    # SHA-256 holds no lock: what two threads gain by it is what the machine has to give beside its other work.
    blocks = [bytes(8 << 20)] * 40
    found, possible = [], []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            found.append(_gain(pool, ours, pictures))
            possible.append(_gain(pool, sha256, blocks))
    print_target("pictures a second with two threads / with one", median(found), ">= 1.8", is_met=median(found) >= 1.8)
    note("the same for SHA-256: what the machine had left", median(possible))


def _gain(pool: ThreadPoolExecutor, way: Callable[[bytes], object], pictures: list[bytes]) -> float:
    started = time.perf_counter()
    for data in pictures:
        way(data)
    alone = time.perf_counter()
    list(pool.map(way, pictures))
    return (alone - started) / (time.perf_counter() - alone)


def stalls(large: bytes, rounds: int) -> None:
    for name, way in METHODS.items():
        held = median(_held_up_ms(partial(way, large)) for _ in range(rounds))
        if way is ours:
            print_target("another thread held up by 12 MP, ms", held, "<= 10", is_met=held <= 10)
        else:
            note(f"another thread held up by 12 MP, {name}, ms", held)


def _held_up_ms(deed: Callable[[], object]) -> float:
    """By how much longer another thread waits, at worst, than while nothing is done for as long."""
    started = time.perf_counter()
    during = _longest_wait_ms(deed)
    pause = time.perf_counter() - started
    return during - _longest_wait_ms(partial(time.sleep, pause))


def _longest_wait_ms(deed: Callable[[], object]) -> float:
    longest, ended = 0.0, threading.Event()

    def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not ended.is_set():
            time.sleep(TICK)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = threading.Thread(target=tick)
    ticking.start()
    deed()
    ended.set()
    ticking.join()
    return 1000 * longest


def halving(pictures: list[bytes], rounds: int) -> None:
    scaled, resized = measure_side_by_side([half_pixels, half_pixels_lanczos], pictures, rounds)
    times = resized / scaled
    print_target("scale 0.5: CPU of decode + LANCZOS / ours", times, ">= 4", is_met=times >= 4)
    scaled, resized = measure_side_by_side([half, half_lanczos], pictures, rounds)
    note("scale 0.5: the same with encoding, optimised on both sides", resized / scaled)
    likeness = sorted(psnr_db(half_pixels(data), resize_to_half(_even(data))) for data in pictures)
    print_target("scale 0.5: PSNR to decode + LANCZOS, dB", median(likeness), ">= 44", is_met=median(likeness) >= 44)
    note("scale 0.5: PSNR of the picture least like it, dB", likeness[0])
    note("scale 0.5: share of pictures at 44 dB or more", sum(db >= 44 for db in likeness) / len(likeness))


def _even(data: bytes) -> Image.Image:
    """The picture with the last pixel of an odd side twice.

    A JPEG decoder halves two to one exactly; LANCZOS from 1001 to 501 draws out by half a pixel, and that is what would
    be measured.
    """
    with Image.open(io.BytesIO(data)) as image:
        even = Image.new(image.mode, (image.width + image.width % 2, image.height + image.height % 2))
        for corner in ((1, 1), (0, 1), (1, 0), (0, 0)):
            even.paste(image, corner)
        return even


if __name__ == "__main__":
    main()
