"""Ways to make a smaller JPEG of a JPEG, to be measured side by side."""

from __future__ import annotations

import io
import math
import resource
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from shutil import which

from PIL import Image

from gql_imgproc.imaging import transform
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.opened_image import open_image
from gql_imgproc.imaging.options import Options

QUALITY = 50
_HALF = Options(quality=QUALITY, scale=0.5)
Way = Callable[[bytes], bytes]


def ours(data: bytes) -> bytes:
    return compress(data, Options(quality=QUALITY), ImageLimits()).data


def naive(data: bytes) -> bytes:
    return _saved(data, optimize=False)


def naive_optimize(data: bytes) -> bytes:
    return _saved(data, optimize=True)


def loaded(data: bytes) -> bytes:
    """Naive, but for a `load` first, without which Pillow copies the bitmap."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _saved(data: bytes, optimize: bool) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "JPEG", quality=QUALITY, optimize=optimize)
    return out.getvalue()


def turbo(data: bytes) -> bytes:
    """libjpeg-turbo's own programs: two processes, whose start is in the figure."""
    with subprocess.Popen(["djpeg"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as decoder:
        encode = ["cjpeg", "-quality", str(QUALITY), "-optimize"]
        with subprocess.Popen(encode, stdin=decoder.stdout, stdout=subprocess.PIPE) as encoder:
            assert decoder.stdin is not None
            assert decoder.stdout is not None
            assert encoder.stdout is not None
            decoder.stdout.close()
            decoder.stdin.write(data)
            decoder.stdin.close()
            return encoder.stdout.read()


def has_turbo() -> bool:
    return which("djpeg") is not None and which("cjpeg") is not None


def half(data: bytes) -> bytes:
    return compress(data, _HALF, ImageLimits()).data


def half_lanczos(data: bytes) -> bytes:
    out = io.BytesIO()
    half_pixels_lanczos(data).save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def half_pixels(data: bytes) -> Image.Image:
    """What `half` stores, before it is encoded."""
    source = open_image(data, ImageLimits())
    plan = transform.plan(_HALF, source.size)
    transform.draft_size(source.image, plan, source.anatomy.orientation)
    source.image.load()
    return transform.apply_geometry(source.image, plan, source.anatomy.orientation)


def half_pixels_lanczos(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return halved(image)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((-(-image.width // 2), -(-image.height // 2)), Image.Resampling.LANCZOS)


WAYS: dict[str, Way] = {way.__name__: way for way in (ours, naive, naive_optimize, loaded)}


def cpu_s() -> float:
    """CPU seconds so far, of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def side_by_side(ways: list[Callable[[bytes], object]], pictures: list[bytes], rounds: int) -> list[float]:
    """CPU seconds that each way takes for all pictures, each in the quickest of its rounds.

    The ways take turns at every picture, so that noise hits all alike; it only ever adds, so the least is the truest.
    """
    least = [[math.inf] * len(pictures) for _ in ways]
    with ExitStack() as opened_pools:
        # A process for each: in one, the way that comes next would find memory as the one before has left it.
        pools = [opened_pools.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in ways]
        for pool, way in zip(pools, ways, strict=True):
            pool.submit(_spent_s, way, pictures[0]).result()
        for _ in range(rounds):
            for number, data in enumerate(pictures):
                for of_way, pool, way in zip(least, pools, ways, strict=True):
                    of_way[number] = min(of_way[number], pool.submit(_spent_s, way, data).result())
    return [sum(of_way) for of_way in least]


def _spent_s(way: Callable[[bytes], object], data: bytes) -> float:
    started = cpu_s()
    way(data)
    return cpu_s() - started
