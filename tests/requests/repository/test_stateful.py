"""Statements in any order, by any process that ever held a lease (promises P1, P2 and P4).

Hypothesis plays workers that sleep, crash and wake up late, messages that are lost or arrive twice, and commits whose
answer is lost. The test derives from the rows what an old claim or lease may still do, and compares it with what the
statements do. A refused statement must leave every row unchanged, and each statement obeys the table of phases. In the
end, processes that do not fail finish the request and delete it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Row, func, select, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import CLAIMING, images, metadata, products, requests, webhook_deliveries
from gql_imgproc.database.types import now as database_now
from gql_imgproc.enums import (
    ImageStatus,
    Priority,
    RequestFailureCode,
    RequestPhase,
    RequestStatus,
    TerminationReason,
)
from gql_imgproc.errors import LeaseLost, NoWebhook
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests.lifecycle import final_status
from gql_imgproc.requests.repository import (
    cancel,
    claims,
    create,
    delete,
    retry,
    transitions,
    webhook_outbox,
    work_queries,
)
from gql_imgproc.requests.repository.claims import ClaimedProduct
from gql_imgproc.requests.repository.create import NewProduct, NewRequest
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.repository.webhook_outbox import Attempt
from gql_imgproc.requests.snapshot import Snapshot
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import DONE, FAILED, get_snapshot

TEMPORARY = replace(FAILED, error_retryable=True)
#: Expires at once, or not within the test.
LEASES = st.sampled_from([0.0, 60.0])
RESULTS = st.sampled_from([DONE, DONE, FAILED, TEMPORARY])
#: Index from the newest entry; hypothesis shrinks towards the newest.
INDEX = st.integers(0, 3)
AUTO_RETRIES = 2
#: The phases that a statement may lead to, besides the one before it.
NEXT_PHASES: dict[RequestPhase, set[RequestPhase]] = {
    RequestPhase.INGESTING: {RequestPhase.WORKING, RequestPhase.STOPPING},
    RequestPhase.WORKING: {RequestPhase.FINISHING, RequestPhase.STOPPING},
    RequestPhase.RETRYING: {RequestPhase.WORKING, RequestPhase.INGESTING, RequestPhase.STOPPING},
    RequestPhase.STOPPING: {RequestPhase.FINISHING},
    RequestPhase.FINISHING: {RequestPhase.DONE, RequestPhase.STOPPING},
    RequestPhase.DONE: {RequestPhase.RETRYING, RequestPhase.DELETING},
    RequestPhase.DELETING: set(),
}
#: More steps than a request of this test ever needs.
MAX_STEPS = 100


class Life(RuleBasedStateMachine):
    """The life cycle of one request, driven by several processes at once."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.claims: list[ClaimedProduct] = []
        self.leases: list[RequestLease] = []
        self.tries: list[webhook_outbox.ClaimedDelivery] = []
        self.layout: list[int] = []
        self.id = UUID(int=0)
        #: The request after the last step, and whether a step since then retried it.
        self.last: Snapshot | None = None
        self.reopened = False

    # --- Ingestion.

    @initialize(
        layout=st.lists(st.integers(1, 3), min_size=1, max_size=4),
        first=st.sampled_from([4, 4, 2, 1]),
        lives=st.sampled_from([0, 0, 1, 2]),
        results=st.lists(RESULTS, min_size=24, max_size=24),
        stopped=st.sampled_from([None, None, TerminationReason.DEADLINE]),
    )
    def accept(
        self,
        layout: list[int],
        first: int,
        lives: int,
        results: list[claims.ImageResult],
        stopped: TerminationReason | None,
    ) -> None:
        """A request that is new or was already retried: random steps alone rarely get that far."""
        self.layout, self.id = layout, new_id()
        new = NewRequest(
            self.id,
            DEFAULT_TENANT,
            Priority.NORMAL,
            "p.csv",
            {},
            [],
            "https://hook.example/",
            None,
            len(layout),
            sum(layout),
        )
        self.write(create.insert_first_chunk, new, self.rows(0, first))
        for _ in range(lives):
            self.claim(60)
            if stopped:
                self.stop(stopped)
            self.work_off(results[: sum(layout)])
            self.end_properly()
            self.write(retry.start_retry, DEFAULT_TENANT, self.id)
            self.reopened = False

    @precondition(lambda self: self.leases)
    @rule(which=INDEX, count=st.integers(1, 2), offset=st.sampled_from([0, 0, 0, 1, -1]), is_cancelled=st.booleans())
    def insert_chunk(self, which: int, count: int, offset: int, is_cancelled: bool) -> None:
        lease, start = self.pick(self.leases, which), get_snapshot(self.database, self.id).ingested_products + offset
        chunk = self.rows(max(start, 0), count)
        if not chunk:
            return
        insert = create.insert_cancelled_chunk if is_cancelled else create.insert_chunk
        phase = RequestPhase.STOPPING if is_cancelled else RequestPhase.INGESTING
        with self.refused_unless(self.is_mine(lease, phase) and not offset):
            self.write(insert, lease, chunk)

    # --- Workers.

    @rule(lease_s=LEASES)
    def claim(self, lease_s: float) -> None:
        request = get_snapshot(self.database, self.id)
        due = self.read(work_queries.count_claimable, self.id, 1) and request.phase in CLAIMING
        claimed = self.write(claims.claim_product, self.id, lease_s)
        assert (claimed is not None) == bool(due)
        if claimed:
            assert {image.id for image in claimed.images} == {
                row.id for row in self.images_of(claimed) if row.status is ImageStatus.PENDING
            }
            self.claims.append(claimed)

    @precondition(lambda self: self.claims)
    @rule(which=INDEX, number=st.integers(0, 2), result=RESULTS)
    def record(self, which: int, number: int, result: claims.ImageResult) -> None:
        claim = self.pick(self.claims, which)
        image_id = self.pick(list(claim.images), number).id
        image = next(row for row in self.images_of(claim) if row.id == image_id)
        request, pending = get_snapshot(self.database, self.id), image.status is ImageStatus.PENDING
        with self.refused_unless(self.is_newest(claim) and pending and request.phase in CLAIMING):
            state = self.write(claims.record_image, claim, image.id, result)
            assert state.finished_images == request.finished_images + 1

    @precondition(lambda self: self.claims)
    @rule(which=INDEX, lease_s=LEASES)
    def renew_lease(self, which: int, lease_s: float) -> None:
        claim = self.pick(self.claims, which)
        newest = self.is_newest(claim)
        with self.unchanged_unless(newest):
            assert self.write(claims.renew_lease, claim, lease_s) == newest

    @precondition(lambda self: self.claims)
    @rule(which=INDEX, delay_s=LEASES)
    def release_product(self, which: int, delay_s: float) -> None:
        claim = self.pick(self.claims, which)
        with self.unchanged_unless(self.is_newest(claim)):
            self.write(claims.release_product, claim, delay_s)

    @precondition(lambda self: self.claims)
    @rule(which=INDEX, number=st.integers(0, 2))
    def mark_crash_suspect(self, which: int, number: int) -> None:
        claim = self.pick(self.claims, which)
        newest = self.is_newest(claim)
        with self.unchanged_unless(newest):
            assert self.write(claims.mark_crash_suspect, claim, self.pick(list(claim.images), number).id) == newest

    @rule(results=st.lists(RESULTS, min_size=12, max_size=12))
    def work_off(self, results: list[claims.ImageResult]) -> None:
        """A worker that finds every lease expired and records every image, so that requests do finish."""
        self.time_passes()
        while claim := self.write(claims.claim_product, self.id, 60):
            self.claims.append(claim)
            for image, ended in zip(claim.images, results, strict=False):
                self.write(claims.record_image, claim, image.id, ended)

    @rule()
    def time_passes(self) -> None:
        """Every lease expires, and every delay ends."""
        for table in (products, requests, webhook_deliveries):
            mine = (table.c.id if table is requests else table.c.request_id) == self.id
            due = table.c.lease_until if table is requests else table.c.due_at
            overdue = update(table).where(mine, due.is_not(None)).values({due.name: database_now()})
            self.write(lambda connection, overdue=overdue: connection.execute(overdue))

    # --- Lease, stopping, finishing, retry.

    @rule(lease_s=LEASES)
    def acquire_lease(self, lease_s: float) -> None:
        free = any(
            found.is_lease_free and found.request.has_step
            for found in self.read(work_queries.list_unfinished, None, 1000)
            if found.request.id == self.id
        )
        taken = self.write(transitions.acquire, self.id, lease_s)
        assert (taken is not None) == free
        if taken:
            self.leases.append(taken)

    @precondition(lambda self: self.leases)
    @rule(which=INDEX, lease_s=LEASES)
    def renew_request_lease(self, which: int, lease_s: float) -> None:
        lease = self.pick(self.leases, which)
        # Finishing the request does not lose the lease.
        mine = self.has_newest_token(lease)
        with self.unchanged_unless(mine):
            assert self.write(transitions.renew, lease, lease_s) == mine

    @precondition(lambda self: self.leases)
    @rule(which=INDEX)
    def release_lease(self, which: int) -> None:
        lease = self.pick(self.leases, which)
        with self.unchanged_unless(self.has_newest_token(lease)):
            self.write(transitions.release, lease)

    @rule(reason=st.sampled_from([TerminationReason.CANCELLED, TerminationReason.DEADLINE]))
    def stop(self, reason: TerminationReason) -> None:
        stops = get_snapshot(self.database, self.id).phase in transitions.STOPPABLE
        with self.unchanged_unless(stops):
            assert (self.write(transitions.stop, DEFAULT_TENANT, self.id, reason) is not None) == stops

    @precondition(lambda self: self.leases)
    @rule(which=INDEX)
    def mark_unreadable(self, which: int) -> None:
        lease = self.pick(self.leases, which)
        stops = self.is_mine(lease, RequestPhase.INGESTING, RequestPhase.STOPPING)
        with self.unchanged_unless(stops):
            assert (self.write(transitions.mark_unreadable, lease) is not None) == stops

    @precondition(lambda self: self.leases)
    @rule(which=INDEX)
    def cancel_chunk(self, which: int) -> None:
        lease = self.pick(self.leases, which)
        with self.refused_unless(self.is_mine(lease, RequestPhase.STOPPING)):
            self.write(cancel.cancel_chunk, lease)

    @precondition(lambda self: self.leases)
    @rule(which=INDEX)
    def reopen_chunk(self, which: int) -> None:
        lease = self.pick(self.leases, which)
        with self.refused_unless(self.is_mine(lease, RequestPhase.RETRYING)):
            self.write(retry.reopen_chunk, lease)

    @precondition(lambda self: self.leases)
    @rule(which=INDEX)
    def start_finishing(self, which: int) -> None:
        lease, request = self.pick(self.leases, which), get_snapshot(self.database, self.id)
        starts = self.is_mine(lease, RequestPhase.WORKING) and not request.pending_images
        with self.unchanged_unless(starts):
            assert (self.write(transitions.start_finishing, lease) is not None) == starts

    @precondition(lambda self: self.leases)
    @rule(which=INDEX, is_unreadable=st.sampled_from([False, False, False, True]))
    def finish(self, which: int, is_unreadable: bool) -> None:
        lease, request = self.pick(self.leases, which), get_snapshot(self.database, self.id)
        status, failure = final_status(request)
        if is_unreadable:
            status, failure = RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE
        ends = self.is_mine(lease, RequestPhase.FINISHING)
        end = FinalState(status, failure, f"output-{lease.token}.csv", AUTO_RETRIES, 0)
        with self.unchanged_unless(ends):
            assert (self.write(transitions.finish, lease, end) is not None) == ends

    @rule(steps=st.integers(1, 4), loses_commit=st.booleans(), is_killed=st.booleans())
    def advance(self, steps: int, loses_commit: bool, is_killed: bool) -> None:
        """A process that does some steps. It repeats a commit whose answer is lost; a killed one keeps its lease."""
        lease = self.write(transitions.acquire, self.id, 60)
        if lease is None:
            return
        self.leases.append(lease)
        for _ in range(steps):
            request = get_snapshot(self.database, self.id)
            if not request.has_step:
                break
            self.do_step(lease, request)
            if loses_commit:
                # The statement runs again, as if it had not been committed.
                with suppress(LeaseLost):
                    self.do_step(lease, request)
        if not is_killed:
            self.write(transitions.release, lease)

    @rule()
    def end_properly(self) -> None:
        """A process that does every step; the request is final if nothing is pending."""
        self.time_passes()
        lease = self.write(transitions.acquire, self.id, 60)
        if lease is None:
            return
        self.leases.append(lease)
        for _ in range(MAX_STEPS):
            request = get_snapshot(self.database, self.id)
            if not request.has_step:
                break
            self.do_step(lease, request)
        assert not get_snapshot(self.database, self.id).has_step

    @rule(automatic=st.booleans())
    def retry(self, automatic: bool) -> None:
        request = get_snapshot(self.database, self.id)
        tried_again = {ImageStatus.FAILED}
        if request.failure_code is RequestFailureCode.DEADLINE:
            tried_again.add(ImageStatus.CANCELLED)
        failed = self.read(
            lambda connection: connection.execute(
                select(images.c.status, images.c.error_retryable).where(images.c.request_id == self.id)
            ).all()
        )
        if automatic:
            due = (DEFAULT_TENANT, self.id) in self.read(retry.list_due_auto_retries, 1000)
            opens = due and any(row.status is ImageStatus.FAILED and row.error_retryable for row in failed)
            assert due == opens
        else:
            opens = request.phase is RequestPhase.DONE and any(row.status in tried_again for row in failed)
        self.reopened = opens
        with self.unchanged_unless(opens):
            state = self.write(retry.start_auto_retry if automatic else retry.start_retry, DEFAULT_TENANT, self.id)
            assert (state is not None) == opens

    def teardown(self) -> None:
        """Everything ends, and can be deleted."""
        if not self.layout:
            return
        for _ in range(MAX_STEPS):
            self.work_off([DONE] * 12)
            self.end_properly()
            if get_snapshot(self.database, self.id).phase is RequestPhase.DONE:
                break
        self.counters_equal_rows()
        self.state_never_goes_back()
        self.each_end_has_one_delivery()
        assert self.write(transitions.start_deletion, DEFAULT_TENANT, self.id) is not None
        killed = self.write(transitions.acquire, self.id, 0)
        survivor = self.write(transitions.acquire, self.id, 60)
        with self.unchanged_unless(False):
            assert self.write(transitions.start_deletion, DEFAULT_TENANT, self.id) is None
            assert self.write(retry.start_retry, DEFAULT_TENANT, self.id) is None
            assert self.write(transitions.stop, DEFAULT_TENANT, self.id, TerminationReason.CANCELLED) is None
            assert self.write(claims.claim_product, self.id, 60) is None
            with pytest.raises(LeaseLost):
                self.write(delete.delete_chunk, killed)
        for _ in range(MAX_STEPS):
            if self.database.write_now(delete.delete_chunk, survivor):
                break
        assert self.read(_all_rows, self.id) == [[] for _ in self.read(_all_rows, self.id)]

    def do_step(self, lease: RequestLease, request: Snapshot) -> None:
        """One step of `lifecycle.advance` for a request as it was seen."""
        rest = self.rows(request.ingested_products, 2)
        match request.phase:
            case RequestPhase.INGESTING:
                self.write(create.insert_chunk, lease, rest)
            case RequestPhase.WORKING:
                self.write(transitions.start_finishing, lease)
            case RequestPhase.RETRYING:
                self.write(retry.reopen_chunk, lease)
            case RequestPhase.STOPPING if request.needs_rows:
                self.write(create.insert_cancelled_chunk, lease, rest)
            case RequestPhase.STOPPING:
                self.write(cancel.cancel_chunk, lease)
            case RequestPhase.FINISHING:
                status, failure = final_status(request)
                end = FinalState(status, failure, f"output-{lease.token}.csv", AUTO_RETRIES, 0)
                self.write(transitions.finish, lease, end)

    # --- Webhooks.

    @rule(lease_s=LEASES)
    def claim_delivery(self, lease_s: float) -> None:
        due = self.read(lambda connection: connection.execute(self.deliveries().order_by("generation")).all())
        if not due:
            return
        claimed = self.write(webhook_outbox.claim_delivery, due[-1].id, lease_s)
        if claimed:
            assert claimed.request.generation == due[-1].generation == get_snapshot(self.database, self.id).generation
            assert claimed.request.status.is_terminal
            self.tries.append(claimed)

    @precondition(lambda self: self.tries)
    @rule(which=INDEX, error=st.sampled_from([None, "refused"]), delay_s=st.sampled_from([None, 0.0, 60.0]))
    def record_delivery(self, which: int, error: str | None, delay_s: float | None) -> None:
        tried = self.pick(self.tries, which)
        row = self.read(
            lambda connection: connection.execute(
                self.deliveries().where(webhook_deliveries.c.id == tried.delivery_id)
            ).one()
        )
        newest = row.lease_token == tried.lease_token
        attempt = Attempt(datetime(2026, 1, 1, tzinfo=UTC), 200, error, 5)
        with self.unchanged_unless(newest):
            assert self.write(webhook_outbox.record_attempt, tried, attempt, delay_s) == newest

    @rule()
    def resend(self) -> None:
        if get_snapshot(self.database, self.id).status.is_terminal:
            delivery_id, _ = self.write(webhook_outbox.reset_for_resend, DEFAULT_TENANT, self.id)
            assert delivery_id in [
                row.id for row in self.read(lambda connection: connection.execute(self.deliveries()))
            ]
            return
        with self.unchanged_unless(False), pytest.raises(NoWebhook):
            self.write(webhook_outbox.reset_for_resend, DEFAULT_TENANT, self.id)

    # --- After each step.

    @invariant()
    def counters_equal_rows(self) -> None:
        if self.layout:
            assert_counters_equal_rows(self.database, self.id)

    @invariant()
    def state_never_goes_back(self) -> None:
        if not self.layout:
            return
        before, after = self.last, get_snapshot(self.database, self.id)
        opened, self.last, self.reopened = self.reopened, after, False
        if before is None:
            return
        assert after.sequence >= before.sequence
        assert after.generation == before.generation + opened
        assert after.status.is_terminal == (after.phase is RequestPhase.DONE)
        if before.status.is_terminal and not opened:
            assert (after.status, after.output_name, after.finished_images) == (
                before.status,
                before.output_name,
                before.finished_images,
            )
        # Watchers tell snapshots apart by their sequence.
        if after.sequence == before.sequence:
            assert replace(after, updated_at=before.updated_at) == before

    @invariant()
    def each_end_has_one_delivery(self) -> None:
        of_generation = self.read(
            lambda connection: connection.execute(
                select(webhook_deliveries.c.generation, func.count())
                .where(webhook_deliveries.c.request_id == self.id)
                .group_by(webhook_deliveries.c.generation)
            ).all()
        )
        request = get_snapshot(self.database, self.id) if self.layout else None
        assert all(count == 1 for _, count in of_generation)
        if request:
            expected = range(1, request.generation + request.status.is_terminal)
            assert sorted(generation for generation, _ in of_generation) == list(expected)

    # --- Reads of the rows.

    def write(self, statement: Callable[..., Any], *arguments: Any) -> Any:
        before = self.read(self.phase)
        try:
            return self.database.write_now(statement, *arguments)
        finally:
            after = self.read(self.phase)
            assert before is None or after == before or after in NEXT_PHASES[before]

    def phase(self, connection: Connection) -> RequestPhase | None:
        return connection.scalars(select(requests.c.phase).where(requests.c.id == self.id)).one_or_none()

    def read(self, statement: Callable[..., Any], *arguments: Any) -> Any:
        return self.database.read_now(statement, *arguments)

    def rows(self, start: int, count: int) -> list[NewProduct]:
        return [
            NewProduct(position, str(position), "p", [f"https://x.example/{position}/{n}" for n in range(size)])
            for position, size in enumerate(self.layout)
            if start <= position < start + count
        ]

    @staticmethod
    def pick(those: list[Any], which: int) -> Any:
        return those[-1 - which % len(those)]

    def is_newest(self, claim: ClaimedProduct) -> bool:
        return bool(self.product_of(claim).lease_token == claim.lease_token)

    def is_mine(self, lease: RequestLease, *phases: RequestPhase) -> bool:
        return self.has_newest_token(lease) and get_snapshot(self.database, self.id).phase in phases

    def has_newest_token(self, lease: RequestLease) -> bool:
        token: int = self.read(
            lambda connection: connection.execute(
                select(requests.c.lease_token).where(requests.c.id == self.id)
            ).scalar_one()
        )
        return token == lease.token

    def product_of(self, claim: ClaimedProduct) -> Row[Any]:
        found: Row[Any] = self.read(
            lambda connection: connection.execute(select(products).where(products.c.id == claim.product_id)).one()
        )
        return found

    def images_of(self, claim: ClaimedProduct) -> list[Row[Any]]:
        found: list[Row[Any]] = self.read(
            lambda connection: connection.execute(select(images).where(images.c.product_id == claim.product_id)).all()
        )
        return found

    def deliveries(self) -> Any:
        return select(webhook_deliveries).where(webhook_deliveries.c.request_id == self.id)

    @contextmanager
    def unchanged_unless(self, allowed: bool) -> Iterator[None]:
        before = None if allowed else self.read(_all_rows, self.id)
        yield
        if before is not None:
            assert self.read(_all_rows, self.id) == before

    @contextmanager
    def refused_unless(self, allowed: bool) -> Iterator[None]:
        with self.unchanged_unless(allowed):
            if allowed:
                yield
            else:
                with pytest.raises(LeaseLost):
                    yield


def _all_rows(connection: Connection, request_id: UUID) -> list[list[Any]]:
    """Every row of a request."""
    return [
        [
            tuple(row)
            for row in connection.execute(
                select(table)
                .where((table.c.id if table is requests else table.c.request_id) == request_id)
                .order_by(table.c.id)
            )
        ]
        for table in metadata.sorted_tables
        if table is requests or "request_id" in table.c
    ]


# Takes seconds unless it fails: hypothesis then searches for the shortest example, which takes minutes.
@pytest.mark.timeout(600)
def test_any_order_of_statements_keeps_the_invariants(database: Database) -> None:
    class LifeHere(Life):
        def __init__(self) -> None:
            super().__init__(database)

    with (
        mock.patch.object(cancel, "CANCEL_CHUNK_PRODUCTS", 1),
        mock.patch.object(retry, "RETRY_CHUNK", 2),
        mock.patch.object(delete, "DELETE_CHUNK_PRODUCTS", 1),
    ):
        run_state_machine_as_test(
            LifeHere,
            settings=settings(
                max_examples=15,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
