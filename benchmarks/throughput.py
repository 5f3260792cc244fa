"""Images per second of `gql-imgproc up`, compared with a baseline that produces the same bytes, in one run.

`python -m benchmarks.throughput --photos FOLDER` uses crops of photographs; without it, the images are drawn.
Machines are noisy: only ratios within the same run are meaningful.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from benchmarks.images import write_images
from benchmarks.service import Run, Service
from benchmarks.targets import print_target


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """Serves the images of a folder. Yields the base URL."""
    host = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.image_host", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    yield f"http://127.0.0.1:{host.stdout.readline().strip()}"
    host.terminate()
    host.wait(10)


def run_baseline(kind: str, urls: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of the baseline."""
    url_file = folder / "urls"
    url_file.write_text("\n".join(urls))
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.baseline", kind, str(url_file)], capture_output=True, text=True, check=True
    )
    elapsed, cpu = out.stdout.split()
    return float(elapsed), float(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs; crops of them are used")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=100)
    parser.add_argument(
        "--long", type=int, default=0, help="images of an additional long run, which measures CPU per image, e.g. 10000"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", arguments.images, arguments.photos)
        with image_host(folder / "images") as host:
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

    def print_rate(name: str, measured: list[tuple[float, float]]) -> float:
        seconds, cpu_s = (median(values) for values in zip(*measured, strict=True))
        print(f"{name:62} {count / seconds:6.1f} /s {1000 * cpu_s / count:6.2f} ms CPU per image")
        return count / seconds

    new_rate = print_rate("baseline, httpx.get", new_runs)
    keepalive_rate = print_rate("baseline, one client per process", keepalive_runs)
    rate = print_rate("up", [(run.work_s, run.cpu_s) for run in runs])
    slow_host_rate = print_rate(
        f"up, {arguments.latency_ms} ms latency", [(run.work_s, run.cpu_s) for run in slow_host_runs]
    )
    print(f"{'upload until response':62} {1000 * median(run.upload_s for run in runs):6.0f} ms\n")
    ratio = rate / new_rate
    print_target("up / baseline with httpx.get", ratio, ">= 0.9", is_met=ratio >= 0.9)
    print(f"{'up / baseline with one client (for information)':62} {rate / keepalive_rate:6.3f}")
    ratio = slow_host_rate / rate
    print_target(f"up at {arguments.latency_ms} ms / up at 0 ms", ratio, ">= 0.8", is_met=ratio >= 0.8)
    if arguments.long:
        measure_long_run(service, host, count, arguments.long, median(run.cpu_s for run in runs) / count)


def run_service(service: Service, host: str, urls: list[str], latency_ms: int = 0) -> Run:
    httpx.get(f"{host}/latency/{latency_ms / 1000}")
    result = asyncio.run(service.run(urls))
    httpx.get(f"{host}/latency/0")
    assert result.final.processed == len(urls), result.final
    return result


def measure_long_run(service: Service, host: str, count: int, long: int, cpu_s_per_image: float) -> None:
    result = run_service(service, host, [f"{host}/{n % count}.jpg?n={n}" for n in range(long)])
    ratio = result.cpu_s / long / cpu_s_per_image
    print(f"\n{long} images: {long / result.work_s:.1f} /s")
    print_target(f"CPU per image at {long} / at {count}", ratio, "<= 1.1", is_met=ratio <= 1.1)


if __name__ == "__main__":
    main()
