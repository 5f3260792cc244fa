"""What processes share per image, and how throughput grows with worker processes.

`python -m benchmarks.scaling` runs `up` and prints

- images per second of 1, 2 and 4 worker processes with tiny images, on SQLite and on PostgreSQL, in one request and in
  one request per process. Tiny images need little CPU, so what the processes share has the largest part;
- statements, transactions and Redis commands per image, on PostgreSQL;
- images per second of 1, 2 and 4 worker processes, with fast image hosts and with slow ones. With the slow hosts, more
  processes than cores show whether anything shared limits them.

Machines are noisy: only ratios within the same run are meaningful. docs/SCALING.md uses these results.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import redis

from benchmarks.images import write_images
from benchmarks.postgresql import Postgresql, run_postgresql
from benchmarks.service import Run, Service
from benchmarks.targets import print_target
from benchmarks.throughput import image_hosts

#: Minimum and maximum side of a tiny image, in pixels.
TINY_SIDES = (64, 96)
#: Number of tiny images. Their URLs are distinct, so each is downloaded and compressed as often as it is uploaded.
TINY_FILES = 100
#: Number of image hosts, so that no limit per host is reached.
HOSTS = 16
#: Latency of the slow image hosts, in seconds.
SLOW_HOST_S = 1.0
#: How long commands are counted while the service is idle, in seconds.
IDLE_S = 5.0
#: Redis commands that are round trips of gql-imgproc; other commands run inside scripts, too.
ROUND_TRIPS = frozenset({"evalsha", "publish", "blmove", "ping"})


@contextmanager
def run_service(folder: Path, workers: int, database_url: str | None = None) -> Iterator[Service]:
    """`up`, with SQLite in the folder unless there is a URL."""
    settings = {"IMGPROC_DATABASE_URL": database_url} if database_url else {}
    running = Service(folder, workers=workers, **settings)
    try:
        yield running
    finally:
        running.close()


def make_urls(hosts: list[str], files: int, count: int) -> list[str]:
    """Distinct URLs of the files, with the hosts in turn."""
    return [f"{host}/{n % files}.jpg?n={n}" for n, host in zip(range(count), itertools.cycle(hosts), strict=False)]


def run(running: Service, urls: list[str]) -> Run:
    result = asyncio.run(running.run(urls))
    assert result.final.processed_images == len(urls), result.final
    return result


# --- What processes share, with tiny images.


def measure_sharing(
    name: str,
    folder: Path,
    hosts: list[str],
    arguments: argparse.Namespace,
    create_database: Callable[[str], str | None],
    server_cpu_s: Callable[[], float],
) -> None:
    rates: dict[tuple[int, int], float] = {}
    for workers in arguments.processes:
        with run_service(folder / f"{name}-{workers}", workers, create_database(f"tiny_{workers}")) as running:
            run(running, make_urls(hosts, TINY_FILES, 20))
            urls = make_urls(hosts, TINY_FILES, arguments.tiny_images * workers)
            for requests in sorted({1, workers}):
                cpu_s, started_at = (running.cpu_s(), server_cpu_s()), time.perf_counter()
                asyncio.run(_run_requests(running, [urls[n::requests] for n in range(requests)]))
                rates[workers, requests] = len(urls) / (time.perf_counter() - started_at)
                cpu_ms = (
                    1000 * (running.cpu_s() - cpu_s[0]) / len(urls),
                    1000 * (server_cpu_s() - cpu_s[1]) / len(urls),
                )
                row = f"{name}, {workers} worker processes, {requests} requests, tiny images"
                print(
                    f"{row:62} {rates[workers, requests]:6.0f} images/s; CPU per image"
                    f" {cpu_ms[0]:5.2f} ms of the service, {cpu_ms[1]:5.2f} ms of the database server",
                    flush=True,
                )
    fewest, most = min(arguments.processes), max(arguments.processes)
    shared, separate = rates[most, 1], rates[most, most]
    print(f"{f'{name}: {most} processes in one request / {fewest}':62} {shared / rates[fewest, 1]:6.3f}")
    print(f"{f'{name}: {most} processes in one request / in {most}':62} {shared / separate:6.3f}\n")


async def _run_requests(running: Service, parts: list[list[str]]) -> None:
    """Uploads one request per part at the same time, and waits for all."""
    results = await asyncio.gather(*map(running.run, parts))
    assert [result.final.processed_images for result in results] == list(map(len, parts))


# --- Calls per image.


def count_redis_commands(folder: Path) -> Counter[str]:
    """Redis commands so far, by name."""
    with redis.Redis.from_url((folder / "redis-url").read_text()) as client:
        statistics = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in statistics.items()})


def _count_costs(server: Postgresql, folder: Path, action: Callable[[], object]) -> tuple[Counter[str], float]:
    """Database and Redis calls during an action, and its seconds."""
    counts = Counter[str]()
    with server.counting(counts):
        before, started_at = count_redis_commands(folder), time.perf_counter()
        action()
        seconds = time.perf_counter() - started_at
        calls = count_redis_commands(folder) - before
    counts["Redis commands, including those in scripts"] = calls.total()
    counts["Redis round trips"] = sum(calls[name] for name in ROUND_TRIPS)
    counts.update({f"  {name}": number for name, number in calls.items()})
    return counts, seconds


def measure_cost_per_image(server: Postgresql, folder: Path, urls: list[str]) -> None:
    """Database and Redis calls per image, without those of an idle service."""
    with run_service(folder, 2, server.create_database("cost")) as running:
        run(running, urls[:20])
        idle, idle_s = _count_costs(server, folder, lambda: time.sleep(IDLE_S))
        busy, busy_s = _count_costs(server, folder, lambda: run(running, urls))
        with redis.Redis.from_url((folder / "redis-url").read_text()) as client:
            connections = {"database": server.count_connections(), "Redis": len(client.client_list()) - 1}
    print(f"connections of 1 API and 2 worker processes: {connections}")
    print(f"{len(urls)} images, one per product, in {busy_s:.1f} s by 2 worker processes")
    for name, number in sorted(busy.items(), key=lambda item: (item[0].startswith(" "), -item[1])):
        idle_rate = idle[name] / idle_s
        per_image = (number - idle_rate * busy_s) / len(urls)
        if per_image >= 0.01 or idle_rate >= 1:
            print(f"{name:62} {per_image:6.2f} per image {idle_rate:8.1f} /s idle")
    print()


# --- Throughput by worker processes.


def measure_throughput(server: Postgresql, folder: Path, hosts: list[str], arguments: argparse.Namespace) -> None:
    processes: list[int] = arguments.processes
    rates: dict[tuple[int, float], float] = {}
    for workers in processes:
        with run_service(folder / f"w{workers}", workers, server.create_database(f"w{workers}")) as running:
            run(running, make_urls(hosts, arguments.images, 20))
            for latency_s, count in ((0.0, arguments.images), (SLOW_HOST_S, arguments.slow_images * workers)):
                httpx.get(f"{hosts[0]}/latency/{latency_s}")
                rates[workers, latency_s] = count / run(running, make_urls(hosts, arguments.images, count)).work_s
                row = f"{workers} worker processes" + (f", the hosts take {latency_s:.0f} s" if latency_s else "")
                print(f"{row:62} {rates[workers, latency_s]:6.1f} images/s", flush=True)
            httpx.get(f"{hosts[0]}/latency/0")
    print()
    fewest = processes[0]
    for workers in processes[1:]:
        print(f"{f'{workers} processes / {fewest}':62} {rates[workers, 0.0] / rates[fewest, 0.0]:6.3f}")
    for workers in processes[1:]:
        ratio = rates[workers, SLOW_HOST_S] / rates[fewest, SLOW_HOST_S] * fewest / workers
        row = f"{workers} processes / {workers // fewest} times {fewest}, slow hosts"
        print_target(row, ratio, ">= 0.9", is_met=ratio >= 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photographs; crops of them are used")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--slow-images", type=int, default=480, help="images of slow hosts per worker process")
    parser.add_argument("--tiny-images", type=int, default=1_000, help="tiny images per worker process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="numbers of worker processes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sc") as name:
        folder = Path(name)
        write_images(folder / "images", arguments.images, arguments.photos)
        write_images(folder / "tiny", TINY_FILES, None, TINY_SIDES)
        with run_postgresql(folder) as server:
            with image_hosts(folder / "tiny", HOSTS) as hosts:
                measure_sharing("SQLite", folder, hosts, arguments, lambda _: None, lambda: 0.0)
                measure_sharing("PostgreSQL", folder, hosts, arguments, server.create_database, server.cpu_s)
            with image_hosts(folder / "images", HOSTS) as hosts:
                measure_cost_per_image(server, folder / "cost", make_urls(hosts, arguments.images, arguments.images))
                measure_throughput(server, folder, hosts, arguments)


if __name__ == "__main__":
    main()
