"""Compares a request of a million products with one of ten thousand, in SQLite and in PostgreSQL.

`python -m benchmarks.million_rows` prints the time of each step, its longest transaction, and the growth of the
process's memory. A page, a claim or a result must take the same time for both; steps that change all products must use
short transactions.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, event, make_url, select, update

from benchmarks.postgresql import run_postgresql
from benchmarks.service import HEADER
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, ProductStatus, RequestPhase, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests import commands, lifecycle
from gql_imgproc.requests.repository import claims, lane_choice, lanes, product_queries, queries, results, work_queries
from gql_imgproc.requests.repository.product_queries import ProductFilter
from gql_imgproc.requests.repository.results import FinishedImage, ImageResult
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import load

CALLER = anonymous_caller("127.0.0.1", is_unlimited=True)
#: Products that are updated in one transaction, in place of workers.
CHUNK = 5_000
#: Images that are claimed and recorded in one transaction, unless there are too few for all repetitions.
CLAIMED_IMAGES = 8
#: Repetitions of steps that take milliseconds; the median is printed.
REPETITIONS = 15
DONE = ImageResult(
    ImageStatus.COMPLETED,
    ImageOutcome.COMPRESSED,
    input_bytes=1000,
    output_bytes=400,
    object_name="0-1.jpg",
    sha256="0" * 64,
    format="image/jpeg",
    width=8,
    height=6,
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Measurements of one step."""

    seconds: float
    longest_transaction_s: float
    #: Growth of the process's peak memory.
    growth_mib: float


class Scenario:
    """One request from its upload to its deletion, step by step."""

    def __init__(
        self, runtime: Runtime, rows: int, folder: Path, reference: dict[str, StepResult] | None = None
    ) -> None:
        self.runtime, self.rows, self.db = runtime, rows, runtime.db
        #: The results of a smaller request, which are printed next to the own ones.
        self._reference = reference
        self.results: dict[str, StepResult] = {}
        self._csv_path = folder / f"{rows}.csv"
        self._longest_transaction_s = 0.0
        self._started_at: dict[int, float] = {}
        for engine in {self.db._reader, self.db._writer}:
            event.listen(engine, "begin", self._on_begin)
            event.listen(engine, "commit", self._on_commit)

    async def run(self) -> dict[str, StepResult]:
        with self._csv_path.open("w") as file:
            file.write(HEADER)
            for n in range(1, self.rows + 1):
                file.write(f"{n},Product number {n} of the shop,https://shop.example/images/{n}.jpg\n")
        request_id = await self._upload_and_ingest()
        for name, read in self._reads(request_id).items():
            self._repeat(name, lambda read=read: self.db.read_now(read))  # type: ignore[misc]  # bound per iteration
        self._repeat("claim eight images, record their results", self._work)
        self._mark_all_images(request_id)
        await self._step("output CSV and finish", lifecycle.advance(self.runtime, request_id))
        self._mark_all_images(request_id, failed=True)
        await self._command("retry all", request_id, commands.retry_failed)
        await self._command("cancel all", request_id, commands.cancel)
        await self._command("delete", request_id, commands.delete)
        return self.results

    async def _upload_and_ingest(self) -> UUID:
        with self._csv_path.open("rb") as file:
            upload = CsvUpload(file, "million.csv", Options(), Priority.NORMAL, None, None)
            accepted = await self._step("upload", accept_upload(self.runtime, CALLER, upload))
        await self._step("ingest all rows", lifecycle.advance(self.runtime, accepted.snapshot.id))
        request = self.db.read_now(queries.get_request, DEFAULT_TENANT, accepted.snapshot.id)
        assert request is not None
        assert request.ingested_products == self.rows
        return request.id

    def _reads(self, request_id: UUID) -> dict[str, Callable[[Connection], Any]]:
        def page(window: PageWindow, **filters: Any) -> Callable[[Connection], Any]:
            return lambda connection: product_queries.products_of_requests(
                connection, DEFAULT_TENANT, [request_id], window, ProductFilter(**filters)
            )

        def count(filter: ProductFilter) -> Callable[[Connection], Any]:
            return lambda connection: product_queries.counts_of_requests(
                connection, DEFAULT_TENANT, [(request_id, filter)]
            )

        middle = (self.rows // 2,)
        failed = ProductStatus.FAILED
        return {
            "progress snapshot": lambda connection: queries.get_request(connection, DEFAULT_TENANT, request_id),
            "products, first page": page(PageWindow(100)),
            "products, middle page": page(PageWindow(100, after=middle)),
            "products, last page": page(PageWindow(100, backward=True)),
            "products of a status, none": page(PageWindow(100), status=failed),
            "products of a status, last page": page(PageWindow(100, backward=True), status=ProductStatus.PENDING),
            "search, many": page(PageWindow(100), name_contains="number 7"),
            "search, one": page(PageWindow(100), name_contains=f"number {self.rows} "),
            "search, none": page(PageWindow(100), name_contains="trousers"),
            "all products, first page": lambda connection: product_queries.products_page(
                connection, DEFAULT_TENANT, PageWindow(100)
            ),
            "all products, search, none": lambda connection: product_queries.products_page(
                connection, DEFAULT_TENANT, PageWindow(100), ProductFilter("trousers")
            ),
            "total": count(ProductFilter()),
            "total of a status": count(ProductFilter(status=ProductStatus.PENDING)),
            "total of a search": count(ProductFilter("number 7")),
            "total of all products": lambda connection: product_queries.count_products(connection, DEFAULT_TENANT),
            "reconcile: open requests": lambda connection: work_queries.list_waiting(connection, None, 500),
            "tenants with ready lanes": lanes.list_tenants,
        }

    def _work(self) -> None:
        count = min(CLAIMED_IMAGES, self.rows // REPETITIONS)
        wanted = self.db.read_now(lane_choice.choose_lanes, [DEFAULT_TENANT], count)
        claim = self.db.write_now(claims.claim_images, wanted, {}, 60)
        assert len(claim.images) == count
        self.db.write_now(results.record, [FinishedImage(image, DONE) for image in claim.images], [])

    def _mark_all_images(self, request_id: UUID, *, failed: bool = False) -> None:
        """Completes or fails all images, as hours of work would."""
        count = {"processed_images": 0, "failed_images": 0, "cancelled_images": 0}
        count["failed_images" if failed else "processed_images"] = 1
        product = {"status": ProductStatus.FAILED if failed else ProductStatus.COMPLETED, **count}
        image: dict[str, Any] = {"status": ImageStatus.FAILED if failed else ImageStatus.COMPLETED, "due_at": None}
        image |= {} if failed else {"object_name": "0-1.jpg"}
        request: dict[str, Any] = {name: number * self.rows for name, number in count.items()}
        request |= (
            {"status": RequestStatus.FAILED, "phase": RequestPhase.DONE}
            if failed
            else {"status": RequestStatus.PROCESSING, "phase": RequestPhase.WORKING}
        )
        request |= {"failed_products" if failed else "processed_products": self.rows}

        for start in range(0, self.rows, CHUNK):
            own = products.c.request_id == request_id, products.c.position.between(start, start + CHUNK - 1)

            def write(connection: Connection, own: tuple[ColumnElement[bool], ...] = own) -> None:
                ids = select(products.c.id).where(*own)
                connection.execute(update(images).where(images.c.product_id.in_(ids)).values(image))
                connection.execute(update(products).where(*own).values(product))

            self.db.write_now(write)
        self.db.write_now(
            lambda connection: connection.execute(update(requests).where(requests.c.id == request_id).values(request))
        )
        if not self.db.sqlite:
            # As autovacuum does during such work.
            with self.db._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("RESET statement_timeout")

    async def _command(self, name: str, request_id: UUID, command: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        """Measures a command, which does not wait here, and what a worker does for it."""
        with mock.patch.object(commands, "WAIT_SECONDS", 0):
            await self._step(name, command(self.runtime, CALLER, request_id))
        await self._step(f"{name}, in a worker", lifecycle.advance(self.runtime, request_id))

    def _repeat(self, name: str, action: Callable[[], object]) -> None:
        times = []
        with self._measured(name):
            for _ in range(REPETITIONS):
                started_at = time.perf_counter()
                action()
                times.append(time.perf_counter() - started_at)
        self._add(name, replace(self.results[name], seconds=sorted(times)[REPETITIONS // 2]))

    async def _step(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        with self._measured(name):
            result = await work
        self._add(name, self.results[name])
        return result

    def _add(self, name: str, result: StepResult) -> None:
        self.results[name] = result
        if self._reference:
            print(
                f"{name:48} {self._reference[name].seconds * 1000:>11.1f} ms {result.seconds * 1000:>11.1f} ms "
                f"{result.longest_transaction_s * 1000:>17.1f} ms {result.growth_mib:>5.0f} MiB",
                flush=True,
            )

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        self._longest_transaction_s, peak_mib, started_at = 0.0, _peak_mib(), time.perf_counter()
        yield
        seconds = time.perf_counter() - started_at
        self.results[name] = StepResult(seconds, self._longest_transaction_s, _peak_mib() - peak_mib)

    def _on_begin(self, connection: Connection) -> None:
        self._started_at[id(connection)] = time.perf_counter()

    def _on_commit(self, connection: Connection) -> None:
        seconds = time.perf_counter() - self._started_at.pop(id(connection))
        self._longest_transaction_s = max(self._longest_transaction_s, seconds)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def run_scenario(
    database_url: str, rows: int, folder: Path, reference: dict[str, StepResult] | None = None
) -> dict[str, StepResult]:
    """Runs all steps of a request with this many rows; prints them next to a reference, if there is one."""
    upgrade(database_url)
    settings = load(
        database_url=database_url,
        data_dir=folder,
        # No Redis is needed: no worker must be woken.
        redis_url=f"unix://{folder}/none",
        max_products=rows,
        max_images=rows,
        max_upload_bytes=2**30,
    )
    async with Runtime(settings) as runtime:
        return await Scenario(runtime, rows, folder, reference).run()


async def measure(database_url: str, rows: int, folder: Path) -> None:
    kind = make_url(database_url).get_backend_name()
    print(f"\n{kind:48} {rows // 100:>14,} {rows:>14,} {'longest transaction':>20} {'memory':>9}")
    small = await run_scenario(database_url, rows // 100, folder)
    await run_scenario(database_url, rows, folder, small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgresql", metavar="URL", help="an empty database; by default a server is started")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="million") as temporary:
        folder = Path(temporary)
        if arguments.only != "postgresql":
            asyncio.run(measure(f"sqlite:///{folder / 'million.db'}", arguments.rows, folder))
        if arguments.postgresql:
            asyncio.run(measure(arguments.postgresql, arguments.rows, folder))
        elif arguments.only != "sqlite":
            with run_postgresql(folder) as server:
                url = server.create_database("million")
                asyncio.run(measure(url, arguments.rows, folder))


if __name__ == "__main__":
    main()
