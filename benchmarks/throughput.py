"""Images per second of `gql-imgproc up`, compared with a baseline that only downloads and compresses, in one run.

`python -m benchmarks.throughput --photos FOLDER` uses crops of photographs; without it, the images are drawn.
Machines are noisy: only ratios within the same run are meaningful.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from benchmarks.images import SIDES, write_images
from benchmarks.service import Run, Service, build_csv
from benchmarks.targets import print_target
from gql_imgproc.client import AsyncClient

#: Minimum and maximum side of small images, in pixels: about 320 x 240.
SMALL_SIDES = (240, 320)
#: Uploads of one image to an idle service, and the pause before each, in seconds.
FIRST_REQUESTS, IDLE_SECONDS = 5, 1.0
#: Target CPU time of the service per small image.
MAX_SMALL_CPU_MS = 2.6


@contextmanager
def image_hosts(folder: Path, count: int = 1) -> Iterator[list[str]]:
    """Serves the images of a folder. Yields the base URL of each host."""
    command = [sys.executable, "-m", "benchmarks.image_host", str(folder), "--ports", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield [f"http://127.0.0.1:{port}" for port in process.stdout.readline().split()]
        finally:
            process.terminate()


def run_baseline(kind: str, urls: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of the baseline."""
    url_file = folder / "urls"
    url_file.write_text("\n".join(urls))
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.baseline", kind, str(url_file)], capture_output=True, text=True, check=True
    )
    elapsed, cpu = out.stdout.split()
    return float(elapsed), float(cpu)


async def time_first_request(service: Service) -> float:
    """Seconds from the response to an upload until its image is requested. The host answers 404."""
    requested: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not requested.done():
            requested.set_result(time.perf_counter())
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server, AsyncClient(service.url) as client:
        # The service shall be idle.
        await asyncio.sleep(IDLE_SECONDS)
        port = server.sockets[0].getsockname()[1]
        await client.upload(io.BytesIO(build_csv([f"http://127.0.0.1:{port}/1.jpg"])), "benchmark.csv")
        uploaded_at = time.perf_counter()
        return max(0.0, await asyncio.wait_for(requested, 30) - uploaded_at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs; crops of them are used")
    parser.add_argument("--small", action="store_true", help="images of about 320 x 240 pixels")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=100)
    parser.add_argument(
        "--long", type=int, default=0, help="images of an additional long run, which measures CPU per image, e.g. 10000"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = SMALL_SIDES if arguments.small else SIDES
        write_images(folder / "images", arguments.images, arguments.photos, sides)
        with image_hosts(folder / "images") as (host,):
            service = Service(folder / "data")
            try:
                measure(arguments, folder, host, service)
            finally:
                service.close()


def measure(arguments: argparse.Namespace, folder: Path, host: str, service: Service) -> None:
    count: int = arguments.images
    urls = [f"{host}/{n}.jpg" for n in range(count)]
    sizes = [path.stat().st_size for path in (folder / "images").iterdir()]
    print(f"{count} images, mean {sum(sizes) / count / 1024:.0f} KiB; {arguments.rounds} rounds, medians\n")
    # Warm-up.
    run_service(service, host, urls)
    new_runs, keepalive_runs, runs, slow_host_runs = [], [], [], []
    for _ in range(arguments.rounds):
        new_runs.append(run_baseline("new", urls, folder))
        runs.append(run_service(service, host, urls))
        keepalive_runs.append(run_baseline("keepalive", urls, folder))
        slow_host_runs.append(run_service(service, host, urls, arguments.latency_ms))

    def print_rate(name: str, measured: list[tuple[float, float]]) -> tuple[float, float]:
        """Prints and returns images per second, and milliseconds of CPU per image."""
        seconds, cpu_s = (median(values) for values in zip(*measured, strict=True))
        rate, cpu_ms = count / seconds, 1000 * cpu_s / count
        print(f"{name:62} {rate:6.1f} /s {cpu_ms:6.2f} ms CPU per image")
        return rate, cpu_ms

    new_rate, _ = print_rate("baseline, httpx.get", new_runs)
    keepalive_rate, keepalive_ms = print_rate("baseline, one client per process", keepalive_runs)
    rate, cpu_ms = print_rate("up", [(run.work_s, run.cpu_s) for run in runs])
    slow_host_rate, _ = print_rate(
        f"up, {arguments.latency_ms} ms latency", [(run.work_s, run.cpu_s) for run in slow_host_runs]
    )
    print(f"{'upload until response':62} {1000 * median(run.upload_s for run in runs):6.0f} ms\n")
    print(f"{'up / baseline with httpx.get (for information)':62} {rate / new_rate:6.3f}")
    ratio = rate / keepalive_rate
    print_target("up / baseline with one client", ratio, ">= 1", is_met=ratio >= 1)
    ratio = keepalive_ms / cpu_ms
    print_target("CPU of the baseline with one client / of up", ratio, ">= 0.95", is_met=ratio >= 0.95)
    ratio = slow_host_rate / rate
    print_target(f"up at {arguments.latency_ms} ms / up at 0 ms", ratio, ">= 0.95", is_met=ratio >= 0.95)
    first_s = [asyncio.run(time_first_request(service)) for _ in range(FIRST_REQUESTS)]
    print_target(
        "first image requested after the response, longest, s", max(first_s), "<= 0.15", is_met=max(first_s) <= 0.15
    )
    if arguments.small:
        is_met = cpu_ms <= MAX_SMALL_CPU_MS
        print_target("CPU per small image, ms", cpu_ms, f"<= {MAX_SMALL_CPU_MS}", is_met=is_met)
    if arguments.long:
        measure_long_run(service, host, count, arguments.long, cpu_ms / 1000)


def run_service(service: Service, host: str, urls: list[str], latency_ms: int = 0) -> Run:
    httpx.get(f"{host}/latency/{latency_ms / 1000}")
    result = asyncio.run(service.run(urls))
    httpx.get(f"{host}/latency/0")
    assert result.final.processed_images == len(urls), result.final
    return result


def measure_long_run(service: Service, host: str, count: int, long: int, cpu_s_per_image: float) -> None:
    result = run_service(service, host, [f"{host}/{n % count}.jpg?n={n}" for n in range(long)])
    ratio = result.cpu_s / long / cpu_s_per_image
    print(f"\n{long} images: {long / result.work_s:.1f} /s")
    print_target(f"CPU per image at {long} / at {count}", ratio, "<= 1.1", is_met=ratio <= 1.1)


if __name__ == "__main__":
    main()
