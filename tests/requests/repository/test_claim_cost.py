"""The cost of a claim depends neither on the number of images and requests, nor on the images of a paused host.

It is counted in pages read (PostgreSQL) and in instructions of the virtual machine (SQLite), at a million images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, text

from gql_imgproc.database.engine import Database
from gql_imgproc.requests.repository import claims, lane_choice, lanes
from gql_imgproc.requests.repository.claims import Claim

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: Requests with one lane of 40 images each, of as many tenants.
REQUESTS, TENANTS, IMAGES_PER_REQUEST = 10_000, 1_000, 40
#: A request with so many hosts, one image each; a lane with so many images; a paused lane with so many images.
HOSTS, LONG_LANE, PAUSED_LANE = 100_000, 300_000, 200_000
#: Their requests, whose tenants are those of the same position.
MANY_HOSTS, LONG, PAUSED = range(REQUESTS, REQUESTS + 3)
IMAGES_PER_PRODUCT = 40
#: Images of a claim.
PLACES = 32


def uuid_of(number: int) -> UUID:
    return UUID(int=number)


def fill(connection: Connection) -> None:
    """A million images, 110,002 lanes and 10,003 open requests."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text("SET LOCAL statement_timeout = 0"))

    def id_of(number: str) -> str:
        return f"printf('%032x', {number})" if is_sqlite else f"lpad(to_hex({number}), 32, '0')::uuid"

    past, never = ("1.0", "9e9") if is_sqlite else ("to_timestamp(1)", "'infinity'::timestamptz")
    yes, no = ("1", "0") if is_sqlite else ("true", "false")
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1)"

    def insert(count: int, table: str, **columns: str) -> None:
        names, values = ", ".join(columns), ", ".join(columns.values())
        source = f"{numbers.format(count=count)} SELECT {values} FROM n"
        connection.execute(text(f"INSERT INTO {table} ({names}) {source}".replace(":", r"\:")))

    counters = (
        "processed_products failed_products processed_images failed_images cancelled_images kept_images input_bytes "
        "output_bytes rate_sampled_images lease_token auto_retries"
    )
    insert(
        REQUESTS + 3,
        "requests",
        id=id_of("i"),
        tenant_id=id_of(f"i % {TENANTS}"),
        status="'PROCESSING'",
        phase="'WORKING'",
        priority="'NORMAL'",
        generation="1",
        sequence="1",
        csv_filename="'products.csv'",
        options="'{}'",
        warnings="'[]'",
        webhook_triggered=no,
        total_products="1",
        ingested_products="1",
        total_images=str(IMAGES_PER_REQUEST),
        lease_until=past,
        created_at=past,
        updated_at=past,
        **dict.fromkeys(counters.split(), "0"),
    )
    urls = json.dumps([f"https://x.example/{n}" for n in range(IMAGES_PER_PRODUCT)])
    counters = "processed_images failed_images cancelled_images"
    images = REQUESTS * IMAGES_PER_REQUEST + HOSTS + LONG_LANE + PAUSED_LANE
    # Each product has 40 images; those of the first requests are one product each.
    first_of_hosts = REQUESTS * IMAGES_PER_REQUEST
    request_of_image = (
        f"CASE WHEN {{0}} < {first_of_hosts} THEN {{0}} / {IMAGES_PER_REQUEST} WHEN {{0}} < {first_of_hosts + HOSTS} "
        f"THEN {MANY_HOSTS} WHEN {{0}} < {first_of_hosts + HOSTS + LONG_LANE} THEN {LONG} ELSE {PAUSED} END"
    )
    insert(
        images // IMAGES_PER_PRODUCT,
        "products",
        id=id_of("i"),
        request_id=id_of(request_of_image.format(f"(i * {IMAGES_PER_PRODUCT})")),
        tenant_id=id_of("0"),
        position="i",
        serial_number="'1'",
        product_name="'shirt'",
        input_image_urls=f"'{urls}'",
        status="'PROCESSING'",
        total_images=str(IMAGES_PER_PRODUCT),
        created_at=past,
        updated_at=past,
        **dict.fromkeys(counters.split(), "0"),
    )
    request_of_lane = (
        f"CASE WHEN i < {REQUESTS} THEN i WHEN i < {REQUESTS + HOSTS} THEN {MANY_HOSTS} ELSE i - {HOSTS} + 1 END"
    )
    insert(
        REQUESTS + HOSTS + 2,
        "lanes",
        id=id_of("i"),
        request_id=id_of(request_of_lane),
        tenant_id=id_of(f"({request_of_lane}) % {TENANTS}"),
        priority="1",
        host="'h' || i || '.example:443'",
        lot="(i * 16807) % 2147483647" if is_sqlite else "((i::bigint * 16807) % 2147483647)::integer",
        ready=f"CASE WHEN i = {REQUESTS + HOSTS + 1} THEN {no} ELSE {yes} END",
        wake_at=f"CASE WHEN i = {REQUESTS + HOSTS + 1} THEN {never} END",
    )
    insert(
        images,
        "images",
        id=id_of("i"),
        request_id=id_of(request_of_image.format("i")),
        product_id=id_of(f"i / {IMAGES_PER_PRODUCT}"),
        position=f"i % {IMAGES_PER_PRODUCT}",
        status="'PENDING'",
        lane_id=id_of(
            f"CASE WHEN i < {first_of_hosts} THEN i / {IMAGES_PER_REQUEST} "
            f"WHEN i < {first_of_hosts + HOSTS} THEN i - {first_of_hosts} + {REQUESTS} "
            f"WHEN i < {first_of_hosts + HOSTS + LONG_LANE} THEN {REQUESTS + HOSTS} ELSE {REQUESTS + HOSTS + 1} END"
        ),
        due_at=past,
        has_repeats=no,
        error_retryable=no,
        **dict.fromkeys(["lease_token", "attempts", "unfinished_claims", "crashes", "refusals"], "0"),
    )
    connection.execute(text("ANALYZE"))


@contextmanager
def count_cost(database: Database) -> Iterator[list[int]]:
    """Pages read by each statement on PostgreSQL; steps of the virtual machine on SQLite."""
    costs: list[int] = []
    engines = {database._reader, database._writer}
    is_explaining = False

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        nonlocal is_explaining
        if is_explaining or statement.startswith("EXPLAIN"):
            return
        is_explaining = True
        for values in parameters if isinstance(parameters, list) else [parameters]:
            with connection.begin_nested() as nested:
                explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                plan = connection.exec_driver_sql(explained, values).scalar_one()[0]["Plan"]
                costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
                nested.rollback()
        is_explaining = False

    def count_steps(connection: Any, *_: Any) -> None:
        def step() -> int:
            costs[-1] += 1
            return 0

        costs.append(0)
        connection.connection.driver_connection.set_progress_handler(step, 1)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", count_steps if database.sqlite else explain)
    yield costs
    for engine in engines:
        event.remove(engine, "before_cursor_execute", count_steps if database.sqlite else explain)


def claim(database: Database, tenants: list[UUID]) -> Claim:
    wanted = database.read_now(lane_choice.choose_lanes, tenants, PLACES)
    return database.write_now(claims.claim_images, wanted, {}, 60)


def test_cost_of_a_claim_is_constant_at_a_million_images(database: Database) -> None:
    # Given a million images,
    database.write_now(fill)
    tenants = database.read_now(lanes.list_tenants)
    assert len(tenants) == TENANTS

    def cost_of(work: Callable[[], Any]) -> int:
        with count_cost(database) as costs:
            found = work()
        assert len(costs) < 40
        assert not isinstance(found, Claim) or len(found.images) > PLACES / 2
        return sum(costs)

    def cost_of_claim(request: int) -> int:
        """Largest cost of some claims for the tenant of a request."""
        return max(cost_of(lambda: claim(database, [uuid_of(request % TENANTS)])) for _ in range(5))

    # when images are claimed of a tenant with 400 images, of the request with 100,000 hosts, of a lane with 300,000
    # images, of a tenant with a paused host, and of all tenants,
    few, many_hosts, long_lane, paused = (cost_of_claim(request) for request in (7, MANY_HOSTS, LONG, PAUSED))
    all_tenants = max(cost_of(lambda: claim(database, tenants)) for _ in range(5))
    lists_tenants = cost_of(lambda: database.read_now(lanes.list_tenants))
    wakes = cost_of(lambda: database.write_now(lanes.wake_due_lanes))
    settles = cost_of(lambda: database.write_now(lanes.settle, uuid_of(REQUESTS + HOSTS)))

    # then each claim costs as much as that of the tenant with few images (measured: 6,100 steps or 890 pages),
    assert few < (8_000 if database.sqlite else 1_200)
    assert max(many_hosts, long_lane, paused) < 1.4 * few
    # and one of all tenants not much more (11,000 steps, 1,800 pages): it reads the requests of several.
    assert all_tenants < (15_000 if database.sqlite else 2_500)
    # To list the tenants costs so much per tenant (39 steps, 4 pages).
    assert lists_tenants / TENANTS < (60 if database.sqlite else 6)
    # Waking lanes, and settling the long one, read a few rows (50 and 119 steps, 1 and 23 pages).
    assert max(wakes, settles) < (200 if database.sqlite else 40)
