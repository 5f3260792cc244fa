"""Many subscribers to one request on one API process: CPU time per event, delay, memory per subscriber, and leftovers.

`python -m benchmarks.subscriptions` also measures stock Strawberry, with the same server, schema and Redis.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import redis
import uvloop

from benchmarks.service import build_csv
from benchmarks.subscribers import ReceivedEvents, abort, connect
from benchmarks.targets import print_target
from gql_imgproc.client import AsyncClient
from gql_imgproc.database import migrations
from gql_imgproc.database.engine import Database
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id, parse_global_id
from gql_imgproc.messaging.publisher import Publisher
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot, progress_channel
from gql_imgproc.standalone.embedded_redis import find_server

API = ("gql_imgproc", "api", "--started-by", "benchmark", "--port")
STOCK = ("benchmarks.stock_strawberry",)
#: Seconds between events: longer than the minimum interval of events for one subscriber.
PAUSE_S = 0.5
#: Target delay of the smaller number of subscribers.
TARGET_P99_S = 0.040
#: Target CPU time per event, and memory per subscriber.
TARGET_CPU_US, TARGET_MEMORY_KIB = 25.0, 45.0
ROUNDS = 4


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running_program(command: Sequence[str], port: int, **environment: str) -> Iterator[psutil.Process]:
    """A program, from the time it listens until the end of the block."""
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL) as child:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert child.poll() is None, f"{command} exited"
                    time.sleep(0.02)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()


@dataclass(frozen=True, slots=True)
class RunningApi:
    """One API process, with an upload that no worker processes."""

    process: psutil.Process
    host: str
    redis_url: str
    snapshot: Snapshot

    @property
    def request_id(self) -> str:
        return encode_global_id(IdPrefix.REQUEST, self.snapshot.id)

    def memory_kib(self) -> float:
        return float(self.process.memory_info().rss) / 1024

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def count_sockets(self) -> int:
        """Number of client connections to the API."""
        port = int(self.host.split(":")[1])
        return sum(c.laddr.port == port and c.status == "ESTABLISHED" for c in self.process.net_connections("tcp"))

    def count_channels(self) -> int:
        """Number of subscriptions in Redis to the request."""
        with redis.Redis.from_url(self.redis_url) as client:
            return int(client.pubsub_numsub(progress_channel(self.snapshot.id))[0][1])  # type: ignore[index]  # redis-py types it as if it were asynchronous


@contextmanager
def running_api(program: Sequence[str]) -> Iterator[RunningApi]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis_port, port = free_port(), free_port()
        redis_url, database = f"redis://127.0.0.1:{redis_port}/0", f"sqlite:///{folder / 'imgproc.db'}"
        migrations.upgrade(database)
        stack.enter_context(
            running_program(
                [str(find_server()), "--port", str(redis_port), "--save", "", "--loglevel", "warning"], redis_port
            )
        )
        process = stack.enter_context(
            running_program(
                [sys.executable, "-m", *program, str(port)],
                port,
                IMGPROC_REDIS_URL=redis_url,
                IMGPROC_DATABASE_URL=database,
                IMGPROC_DATA_DIR=str(folder),
                IMGPROC_LOG_LEVEL="warning",
            )
        )
        yield RunningApi(process, f"127.0.0.1:{port}", redis_url, upload_csv(f"http://127.0.0.1:{port}", database))


def upload_csv(url: str, database: str) -> Snapshot:
    csv = build_csv([f"https://images.example/{number}.jpg" for number in range(1_000)])

    async def upload() -> str:
        async with AsyncClient(url) as client:
            accepted = await client.upload(io.BytesIO(csv), "benchmark.csv")
        return accepted.id

    request_id = parse_global_id(asyncio.run(upload()), IdPrefix.REQUEST)
    assert request_id is not None
    db = Database(database)
    snapshot = db.read_now(queries.get_request, DEFAULT_TENANT, request_id)
    db.close()
    assert snapshot is not None
    return snapshot


@dataclass(frozen=True, slots=True)
class Measurement:
    """Cost and delay of a number of subscribers."""

    cpu_us: float
    p50_s: float
    p99_s: float
    memory_kib: float
    lost_events: int


async def measure(api: RunningApi, number: int, events: int) -> Measurement:
    """Subscribers connect, receive some events, and drop their connections."""
    received = ReceivedEvents()
    before_kib = api.memory_kib()
    subscribers = await connect(api.host, api.request_id, number, received)
    publisher = Publisher(api.redis_url)
    sequence = max(received.latest)
    await asyncio.sleep(1)
    before_s = api.cpu_s()
    for event in range(1, events + 1):
        received.published[sequence + event] = time.perf_counter()
        snapshot = replace(api.snapshot, sequence=sequence + event, processed_images=event)
        publisher.publish(progress_channel(snapshot.id), snapshot.to_event(), at_once=True)
        await asyncio.sleep(PAUSE_S)
    # Wait for slow subscribers.
    async with asyncio.timeout(60):
        while min(received.latest) < sequence + events:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)
    cpu_s, delays = api.cpu_s() - before_s, sorted(received.latencies)
    memory_kib = (api.memory_kib() - before_kib) / number
    await publisher.aclose()
    abort(subscribers)
    return Measurement(
        cpu_us=1e6 * cpu_s / len(delays),
        p50_s=statistics.median(delays),
        p99_s=delays[len(delays) * 99 // 100],
        memory_kib=memory_kib,
        lost_events=number * events - len(delays),
    )


def print_row(name: str, measured: Measurement) -> None:
    print(
        f"{name:28} {measured.cpu_us:8.1f} us {measured.p50_s * 1e3:8.1f} ms {measured.p99_s * 1e3:8.1f} ms "
        f"{measured.memory_kib:8.1f} KiB {measured.lost_events:8}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--subscribers", type=int, nargs=2, default=(1_000, 5_000), help="a smaller and a larger number"
    )
    parser.add_argument("--events", type=int, default=20)
    arguments = parser.parse_args()
    number, larger = arguments.subscribers
    max_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

    print(f"{'':28} {'CPU/event':>11} {'median':>11} {'p99':>11} {'memory':>12} {'lost':>8}")
    with running_api(STOCK) as api:
        stock = uvloop.run(measure(api, number, arguments.events))
        print_row(f"stock, {number}", stock)
    with running_api(API) as api:
        few = uvloop.run(measure(api, number, arguments.events))
        print_row(f"gql_imgproc, {number}", few)
    with running_api(API) as api:
        many = uvloop.run(measure(api, larger, arguments.events))
        print_row(f"gql_imgproc, {larger}", many)
        time.sleep(1)
        leftovers = api.count_sockets(), api.count_channels()
    with running_api(API) as api:
        sizes = []
        for _ in range(ROUNDS):
            uvloop.run(connect_and_abort(api, number))
            sizes.append(api.memory_kib())
    print_targets(stock, few, many, number, larger)
    print_target("sockets and channels left after 1 s", sum(leftovers), "0", is_met=not any(leftovers))
    growth = max(sizes[1:]) / sizes[0]
    print_target(f"memory after {ROUNDS} rounds / after the first", growth, "<= 1.02", is_met=growth <= 1.02)


def print_targets(stock: Measurement, few: Measurement, many: Measurement, number: int, larger: int) -> None:
    print()
    print("ratios and targets")
    print_target("CPU time per event, in us", few.cpu_us, f"<= {TARGET_CPU_US:g}", is_met=few.cpu_us <= TARGET_CPU_US)
    # The time of a few events may be too short to be measured.
    ratio = few.cpu_us / max(stock.cpu_us, 1.0)
    print_target("CPU time per event / stock", ratio, "< 1", is_met=ratio < 1)
    print_target(
        f"p99 of {number} subscribers, in ms",
        few.p99_s * 1e3,
        f"<= {TARGET_P99_S * 1e3:g}",
        is_met=few.p99_s <= TARGET_P99_S,
    )
    print_target(
        f"memory per subscriber of {larger}, in KiB",
        many.memory_kib,
        f"<= {TARGET_MEMORY_KIB:g}",
        is_met=many.memory_kib <= TARGET_MEMORY_KIB,
    )
    print_target(f"events lost by {larger} subscribers", many.lost_events, "0", is_met=many.lost_events == 0)


async def connect_and_abort(api: RunningApi, number: int) -> None:
    received = ReceivedEvents()
    subscribers = await connect(api.host, api.request_id, number, received)
    abort(subscribers)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(api.count_sockets):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()
