"""What processes share per image, and the throughput of the shared parts.

`python -m benchmarks.scaling` prints

- claims and recorded results per second of SQLite and PostgreSQL alone, by 1, 2 and 4 processes, in one request and in
  one request per process;
- statements, transactions and Redis commands per image, of `up` on PostgreSQL;
- images per second of 1, 2 and 4 worker processes, with a fast image host and with one that takes seconds. With the
  slow host, more processes than cores show whether anything shared limits them.

Machines are noisy: only ratios within the same run are meaningful. docs/SCALING.md uses these results.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
import redis

from benchmarks.images import write_images
from benchmarks.postgresql import Postgresql, run_postgresql
from benchmarks.service import Run, Service, build_csv
from benchmarks.targets import print_target
from benchmarks.throughput import image_host
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests import ingest
from gql_imgproc.requests.repository.claims import ClaimedProduct, ImageResult, claim_product, record_image
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import load

T = TypeVar("T")

CALLER = anonymous_caller("127.0.0.1", is_unlimited=True)
#: Numbers of processes that are compared.
PROCESSES = (1, 2, 4)
#: Longer than a run, so that no lease expires.
LEASE_S = 600.0
#: Timeout of barriers and queues between processes, in seconds.
TIMEOUT_S = 600.0
DONE = ImageResult(
    ImageStatus.COMPLETED, ImageOutcome.COMPRESSED, 180_000, 60_000, "0-1.jpg", "0" * 64, "image/jpeg", 8, 6
)
#: Latency of the slow image host, in seconds.
SLOW_HOST_S = 2.0
#: How long commands are counted while the service is idle, in seconds.
IDLE_S = 5.0
#: Redis commands that are round trips of gql-imgproc; most other commands run inside Dramatiq's scripts.
ROUND_TRIPS = frozenset({"evalsha", "publish", "set", "hscan", "time", "ping"})


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """Seconds of one process."""

    claiming: float
    recording: float
    cpu: float


# --- The database alone.


async def _create_requests(url: str, folder: Path, requests: int, products: int) -> list[UUID]:
    """Uploads and ingests requests with this many products each."""
    # There is no Redis at this port, and none is needed: no worker must be woken.
    no_redis = "redis://127.0.0.1:9/0"
    settings = load(database_url=url, data_dir=folder, redis_url=no_redis, fetch_allow_networks="127.0.0.0/8")
    csv = build_csv([f"http://127.0.0.1/{n}.jpg" for n in range(products)])
    request_ids = []
    async with Runtime(settings) as runtime:
        for _ in range(requests):
            upload = CsvUpload(io.BytesIO(csv), "products.csv", Options(), Priority.NORMAL, None, None)
            request_id = (await accept_upload(runtime, CALLER, upload)).snapshot.id
            await ingest.ingest(runtime, request_id)
            request_ids.append(request_id)
    return request_ids


def _run_process(url: str, request_id: UUID, count: int, barrier: Barrier, times: Queue[ProcessTimes]) -> None:
    """Claims products of a request, waits for the other processes, records the results."""
    database = Database(url, durability="process")
    # Connect before the measurement.
    database.write_now(lambda connection: None)

    def measure(action: Callable[[], T]) -> tuple[T, float]:
        barrier.wait(TIMEOUT_S)
        started_at = time.perf_counter()
        return action(), time.perf_counter() - started_at

    cpu_s = time.process_time()

    def claim() -> list[ClaimedProduct]:
        found = [database.write_now(claim_product, request_id, LEASE_S) for _ in range(count)]
        return [claim for claim in found if claim is not None]

    def record() -> None:
        for claim in claims:
            database.write_now(record_image, claim, claim.images[0].id, DONE)

    claims, claiming_s = measure(claim)
    assert len(claims) == count
    _, recording_s = measure(record)
    times.put(ProcessTimes(claiming_s, recording_s, time.process_time() - cpu_s))
    # Closed only after the server's CPU time was read, which does not include closed connections.
    barrier.wait(TIMEOUT_S)
    database.close()


def _measure_processes(
    url: str, request_ids: list[UUID], processes: int, count: int, server_cpu_s: Callable[[], float]
) -> tuple[list[ProcessTimes], float]:
    """The times of each process, and the CPU seconds of the server."""
    spawn = multiprocessing.get_context("spawn")
    barrier, times = spawn.Barrier(processes + 1), spawn.Queue()
    workers = [
        spawn.Process(target=_run_process, args=(url, request_ids[n % len(request_ids)], count, barrier, times))
        for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait(TIMEOUT_S)
    cpu_s = server_cpu_s()
    barrier.wait(TIMEOUT_S)
    all_times = [times.get(timeout=TIMEOUT_S) for _ in workers]
    cpu_s = server_cpu_s() - cpu_s
    barrier.wait(TIMEOUT_S)
    for worker in workers:
        worker.join()
    return all_times, cpu_s


def measure_database(name: str, url: str, folder: Path, count: int, server_cpu_s: Callable[[], float]) -> None:
    upgrade(url)
    rates: dict[tuple[int, int], float] = {}
    for processes in PROCESSES:
        for requests in sorted({1, processes}):
            request_ids = asyncio.run(_create_requests(url, folder, requests, count * processes // requests))
            times, cpu_s = _measure_processes(url, request_ids, processes, count, server_cpu_s)
            total = count * processes
            claims, results = (
                total / max(each.claiming for each in times),
                total / max(each.recording for each in times),
            )
            rates[processes, requests] = results
            row = f"{name}, {processes} processes, {requests} requests"
            process_ms, server_ms = 1000 * sum(each.cpu for each in times) / total, 1000 * cpu_s / total
            print(
                f"{row:40} {claims:6.0f} claims/s {results:6.0f} results/s; CPU for both"
                f" {process_ms:5.2f} ms of the process, {server_ms:5.2f} ms of the server",
                flush=True,
            )
    most = PROCESSES[-1]
    single, shared, separate = rates[1, 1], rates[most, 1], rates[most, most]
    print(f"{f'{name}: results of {most} processes in one request / of one process':62} {shared / single:6.3f}")
    print(f"{f'{name}: results in one request / in {most}':62} {shared / separate:6.3f}\n")


# --- The whole service.


@contextmanager
def run_service(folder: Path, url: str, workers: int) -> Iterator[Service]:
    # The window is so large that one request uses all workers.
    running = Service(folder, workers=workers, IMGPROC_DATABASE_URL=url, IMGPROC_WINDOW="256")
    try:
        yield running
    finally:
        running.close()


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
    with run_service(folder, server.create_database("cost"), 2) as running:
        asyncio.run(running.run(urls[:20]))
        idle, idle_s = _count_costs(server, folder, lambda: time.sleep(IDLE_S))
        busy, busy_s = _count_costs(server, folder, lambda: asyncio.run(running.run(urls)))
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


def measure_throughput(server: Postgresql, folder: Path, host: str, urls: list[str], slow_images: int) -> None:
    def run(running: Service, urls: list[str], latency_s: float) -> Run:
        httpx.get(f"{host}/latency/{latency_s}")
        result = asyncio.run(running.run(urls))
        httpx.get(f"{host}/latency/0")
        assert result.final.processed == len(urls), result.final
        return result

    rates: dict[tuple[int, float], float] = {}
    for workers in PROCESSES:
        with run_service(folder / f"w{workers}", server.create_database(f"w{workers}"), workers) as running:
            run(running, urls[:20], 0)
            slow_urls = [urls[n % len(urls)] + f"?n={n}" for n in range(slow_images * workers)]
            for latency_s, own_urls in ((0.0, urls), (SLOW_HOST_S, slow_urls)):
                rates[workers, latency_s] = len(own_urls) / run(running, own_urls, latency_s).work_s
                row = f"{workers} worker processes" + (f", the host takes {latency_s:.0f} s" if latency_s else "")
                print(f"{row:62} {rates[workers, latency_s]:6.1f} images/s", flush=True)
    print()
    print(f"{'2 processes / 1':62} {rates[2, 0.0] / rates[1, 0.0]:6.3f}")
    for workers in PROCESSES[1:]:
        ratio = rates[workers, SLOW_HOST_S] / rates[1, SLOW_HOST_S] / workers
        print_target(f"{workers} processes / {workers} times one, slow host", ratio, ">= 0.9", is_met=ratio >= 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photographs; crops of them are used")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--slow-images", type=int, default=240, help="images of the slow host per worker process")
    parser.add_argument("--claims", type=int, default=1_000, help="claims per process of the databases alone")
    arguments = parser.parse_args()
    # Warnings about the missing Redis are expected.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sc") as name:
        folder = Path(name)
        with run_postgresql(folder) as server:
            alone = folder / "alone"
            measure_database("SQLite", f"sqlite:///{folder / 'alone.db'}", alone, arguments.claims, lambda: 0.0)
            measure_database("PostgreSQL", server.create_database("alone"), alone, arguments.claims, server.cpu_s)
            write_images(folder / "images", arguments.images, arguments.photos)
            with image_host(folder / "images") as host:
                urls = [f"{host}/{n}.jpg" for n in range(arguments.images)]
                measure_cost_per_image(server, folder / "cost", urls)
                measure_throughput(server, folder, host, urls, arguments.slow_images)


if __name__ == "__main__":
    main()
