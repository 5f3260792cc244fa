"""Methods to compress a JPEG, measured side by side."""

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
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import open_image

QUALITY = 50
_HALF = Options(quality=QUALITY, scale=0.5)
Method = Callable[[bytes], bytes]


def ours(data: bytes) -> bytes:
    return compress(data, Options(quality=QUALITY), ImageLimits()).data


def naive(data: bytes) -> bytes:
    return _encode(data, optimize=False)


def naive_optimize(data: bytes) -> bytes:
    return _encode(data, optimize=True)


def loaded(data: bytes) -> bytes:
    """As `naive`, with a `load` first; without it, Pillow copies the bitmap."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _encode(data: bytes, *, optimize: bool) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "JPEG", quality=QUALITY, optimize=optimize)
    return out.getvalue()


def turbo(data: bytes) -> bytes:
    """The programs of libjpeg-turbo: two processes, whose start is included in the measurement."""
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
    """The pixels that `half` encodes."""
    source = open_image(data, ImageLimits())
    plan = transform.make_plan(_HALF, source.structure.displayed_size)
    transform.draft_size(source.image, plan, source.structure.orientation)
    source.image.load()
    return transform.apply_geometry(source.image, plan, source.structure.orientation)


def half_pixels_lanczos(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return resize_to_half(image)


def resize_to_half(image: Image.Image) -> Image.Image:
    return image.resize((-(-image.width // 2), -(-image.height // 2)), Image.Resampling.LANCZOS)


METHODS: dict[str, Method] = {method.__name__: method for method in (ours, naive, naive_optimize, loaded)}


def cpu_s() -> float:
    """CPU seconds so far of this process and its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure_side_by_side(methods: list[Callable[[bytes], object]], images: list[bytes], rounds: int) -> list[float]:
    """CPU seconds of each method for all images, with the fastest round of each image.

    The methods alternate for every image, so that noise affects all alike. Noise only adds time, so the minimum is the
    best estimate.
    """
    fastest = [[math.inf] * len(images) for _ in methods]
    with ExitStack() as stack:
        # One process per method: in a shared one, each method would inherit the memory state of the one before.
        pools = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in methods]
        for pool, method in zip(pools, methods, strict=True):
            pool.submit(_measure_cpu_s, method, images[0]).result()
        for _ in range(rounds):
            for number, data in enumerate(images):
                for times, pool, method in zip(fastest, pools, methods, strict=True):
                    times[number] = min(times[number], pool.submit(_measure_cpu_s, method, data).result())
    return [sum(times) for times in fastest]


def _measure_cpu_s(method: Callable[[bytes], object], data: bytes) -> float:
    started_s = cpu_s()
    method(data)
    return cpu_s() - started_s
