"""Pictures per second of `gql-imgproc up` beside a bare loop that makes the same bytes, in one run.

`python -m benchmarks.throughput --photos FOLDER` with photographs (crops of them are used), else with drawn pictures.
Machines are noisy: only ratios of figures from the same run mean something.
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

from benchmarks.images import make
from benchmarks.service import Run, Service
from benchmarks.targets import goal


@contextmanager
def image_host(folder: Path) -> Iterator[str]:
    """Address of a host that serves the pictures of `folder`."""
    host = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.image_host", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    yield f"http://127.0.0.1:{host.stdout.readline().strip()}"
    host.terminate()
    host.wait(10)


def bare(kind: str, addresses: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds of the bare loop."""
    listed = folder / "addresses"
    listed.write_text("\n".join(addresses))
    out = subprocess.run(
        [sys.executable, "-m", "benchmarks.baseline", kind, str(listed)], capture_output=True, text=True, check=True
    )
    elapsed, cpu = out.stdout.split()
    return float(elapsed), float(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs to take crops of")
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=int, default=100)
    parser.add_argument("--long", type=int, default=0, help="pictures of one long run for CPU per picture, e.g. 10000")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder / "pictures", given.pictures, given.photos)
        with image_host(folder / "pictures") as host:
            service = Service(folder / "data")
            try:
                measure(given, folder, host, service)
            finally:
                service.close()


def measure(given: argparse.Namespace, folder: Path, host: str, service: Service) -> None:
    count: int = given.pictures
    addresses = [f"{host}/{n}.jpg" for n in range(count)]
    sizes = [path.stat().st_size for path in (folder / "pictures").iterdir()]
    print(f"{count} pictures, mean {sum(sizes) / count / 1024:.0f} KiB; {given.rounds} rounds, medians\n")

    def run(latency_ms: int = 0) -> Run:
        httpx.get(f"{host}/latency/{latency_ms / 1000}")
        done = asyncio.run(service.run(addresses))
        httpx.get(f"{host}/latency/0")
        assert done.end.processed == count, done.end
        return done

    # The first run starts what is started once.
    run()
    bare_runs, kept_runs, runs, late_runs = [], [], [], []
    for _ in range(given.rounds):
        bare_runs.append(bare("new", addresses, folder))
        runs.append(run())
        kept_runs.append(bare("kept", addresses, folder))
        late_runs.append(run(given.latency_ms))

    def line(what: str, seconds: float, cpu_s: float) -> float:
        print(f"{what:62} {count / seconds:6.1f} /s {1000 * cpu_s / count:6.2f} ms CPU a picture")
        return count / seconds

    bare_rate = line("bare loop, httpx.get", median(r[0] for r in bare_runs), median(r[1] for r in bare_runs))
    kept_rate = line(
        "bare loop, one client a process", median(r[0] for r in kept_runs), median(r[1] for r in kept_runs)
    )
    cpu_s = median(r.cpu_s for r in runs)
    rate = line("up", median(r.work_s for r in runs), cpu_s)
    late = line(
        f"up, {given.latency_ms} ms latency", median(r.work_s for r in late_runs), median(r.cpu_s for r in late_runs)
    )
    print(f"{'upload until answered':62} {1000 * median(r.upload_s for r in runs):6.0f} ms\n")
    goal("up / bare loop with httpx.get", rate / bare_rate, rate / bare_rate >= 0.9, ">= 0.9")
    print(f"{'up / bare loop with one client (for information)':62} {rate / kept_rate:6.3f}")
    goal(f"up at {given.latency_ms} ms / up at 0 ms", late / rate, late / rate >= 0.8, ">= 0.8")
    if given.long:
        many = [f"{host}/{n % count}.jpg?n={n}" for n in range(given.long)]
        long = asyncio.run(service.run(many))
        assert long.end.processed == given.long, long.end
        ratio = (long.cpu_s / given.long) / (cpu_s / count)
        print(f"\n{given.long} pictures: {given.long / long.work_s:.1f} /s")
        goal(f"CPU a picture at {given.long} / at {count}", ratio, ratio <= 1.1, "<= 1.1")


if __name__ == "__main__":
    main()
