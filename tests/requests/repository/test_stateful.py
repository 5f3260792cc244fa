"""Statements in any order, by any process that ever held a lease (promises P1, P2 and P4).

Hypothesis plays workers that sleep, crash and wake up late, messages that are lost or arrive twice, and commits whose
answer is lost. Other requests have the same images, and are deleted meanwhile. The test derives from the rows what an
old claim or lease may still do, and compares it with what the statements do. A refused statement must leave every row
unchanged, each statement obeys the table of phases, a lane with due images is always ready or wakes in time, and no
image loses its object (promise P15). In the end, processes that do not fail finish the request, and delete it with what
it stored. They find its images by waking and claiming only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any, TypeAlias
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
from sqlalchemy import delete as delete_rows

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import (
    CLAIMING,
    audit_events,
    images,
    metadata,
    object_cleanups,
    requests,
    sources,
    tenants,
    webhook_deliveries,
)
from gql_imgproc.database.tables import lanes as lane_table
from gql_imgproc.database.tables import renditions as rendition_table
from gql_imgproc.database.types import now as database_now
from gql_imgproc.enums import (
    ImageOutcome,
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
from gql_imgproc.requests.repeated_urls import RepeatedUrls
from gql_imgproc.requests.repository import (
    cancel,
    claims,
    create,
    delete,
    lane_choice,
    lanes,
    renditions,
    results,
    retry,
    transitions,
    webhook_outbox,
    work_queries,
)
from gql_imgproc.requests.repository.claims import Claim, ClaimedImage
from gql_imgproc.requests.repository.create import NewProduct, NewRequest
from gql_imgproc.requests.repository.image_results import FinishedImage, ImageResult, ReturnedImage, ReturnReason
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.requests.repository.renditions import Rendition
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.repository.webhook_outbox import DeliveryAttempt
from gql_imgproc.requests.snapshot import Snapshot
from tests.support.invariants import assert_counters_equal_rows, assert_images_have_their_renditions
from tests.support.scenarios import (
    DONE,
    FAILED,
    delete_all,
    finish,
    finished_image,
    get_snapshot,
    given_urls,
    ready_lanes,
    reused_image,
    try_claim,
)

TEMPORARY = replace(FAILED, error_retryable=True)
#: Expires at once, or not within the test.
LEASES = st.sampled_from([0.0, 60.0])
REUSED = replace(DONE, outcome=ImageOutcome.REUSED)
RESULTS = st.sampled_from([DONE, DONE, REUSED, FAILED, TEMPORARY])
#: Why an image is returned, and when it is due again.
RETURNS = st.tuples(st.sampled_from(ReturnReason), LEASES)
#: Lanes wake this early or late without being lost, in seconds: more than a slow machine needs, less than a delay.
WAKE_TOLERANCE = timedelta(seconds=30)
Outcome: TypeAlias = ImageResult | tuple[ReturnReason, float]
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
        #: Lanes that processes chose, and images that they claimed, since the request was created.
        self.choices: list[dict[Lane, int]] = []
        self.claims: list[ClaimedImage] = []
        #: Claims whose result was recorded, or whose image was returned, by ID and token.
        self.ended: set[tuple[UUID, int]] = set()
        #: Until when the hosts of lanes are paused.
        self.paused_until: dict[UUID, datetime] = {}
        self.leases: list[RequestLease] = []
        self.tries: list[webhook_outbox.ClaimedDelivery] = []
        self.layout: list[int] = []
        self.id = UUID(int=0)
        #: Other requests, which are done.
        self.others: list[UUID] = []
        #: Renditions that a process once found, those whose use has ended, and the names of their deleted objects.
        self.found: list[Rendition] = []
        self.unused: list[Rendition] = []
        self.deleted_objects: set[str] = set()
        #: The request after the last step, and whether a step since then retried it.
        self.last: Snapshot | None = None
        self.reopened = False
        #: Images that were final after the last step.
        self.final_images: dict[UUID, tuple[Any, ...]] = {}
        # A failed example leaves rows behind; the next one must not fail because of them.
        self.write(_delete_all_rows)

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
        results: list[ImageResult],
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
            own_bytes=1_000,
        )
        self.write(create.insert_first_chunk, new, self.rows(0, first))
        for _ in range(lives):
            self.claim(4, 0, 60, None)
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

    def choose(self, places: int) -> None:
        ready = {row.id for row in self.read(self.lanes) if row.ready}
        wanted = self.read(self.choose_lanes, places)
        assert sum(wanted.values()) == (places if ready else 0)
        assert {lane.id for lane in wanted} <= ready
        self.choices.append(wanted)

    @rule(
        places=st.integers(1, 6),
        which=st.sampled_from([0, 0, 1, 2]),
        lease_s=LEASES,
        pause_s=st.sampled_from([None, None, 0.0, 60.0]),
    )
    def claim(self, places: int, which: int, lease_s: float, pause_s: float | None) -> None:
        """A process that chose lanes, perhaps a while ago: others may have emptied or closed them."""
        self.choose(places)
        wanted, request = self.pick(self.choices, which), get_snapshot(self.database, self.id)
        is_open = request.phase in CLAIMING
        due = Counter(row.lane_id for row in self.read(self.images) if row.is_due)
        paused = {} if pause_s is None else dict.fromkeys(list(wanted)[:1], pause_s)
        claim: Claim = self.write(claims.claim_images, wanted, paused, lease_s)
        for lane, seconds in paused.items():
            self.paused_until[lane.id] = self.now() + timedelta(seconds=seconds)
        for lane, count in wanted.items():
            own = [image for image in claim.images if image.lane_id == lane.id]
            assert len(own) == (min(count, due[lane.id]) if is_open else 0)
        assert all(self.has_lease(image) for image in claim.images)
        starts = bool(claim.images) and request.status is RequestStatus.PENDING
        assert [snapshot.status for snapshot in claim.started] == [RequestStatus.PROCESSING] * starts
        self.claims += claim.images

    @precondition(lambda self: self.claims)
    @rule(
        outcomes=st.lists(st.tuples(st.integers(0, 7), RESULTS | RETURNS), min_size=1, max_size=6),
        loses_commit=st.booleans(),
    )
    def record(self, outcomes: list[tuple[int, Outcome]], loses_commit: bool) -> None:
        """A recorder writes a group, which may contain lost images; it repeats a commit whose answer is lost."""
        group = {(image.id, image.lease_token): (image, end) for image, end in self.pick_outcomes(outcomes)}.values()
        finished = [self.finish_image(image, end) for image, end in group if isinstance(end, ImageResult)]
        returned = [ReturnedImage(image, *end) for image, end in group if not isinstance(end, ImageResult)]
        before = get_snapshot(self.database, self.id).finished_images
        new = [item for item in (*finished, *returned) if self.has_lease(item.image)]
        tokens = {row.id: row.lease_token for row in self.read(self.images)}
        held = [image.id for image, _ in group if image.lease_token == tokens[image.id]]
        usable = self.read(_usable)
        with self.unchanged_unless(bool(new)):
            recorded = self.write(results.record, finished, returned)
        # An object that was deleted is not reused.
        needs = {item.image.id: _own_key(item) for item in finished if item in new and _is_reused(item)}
        stored = {_own_key(item) for item in finished if item in new and item.is_new}
        assert recorded.returned == {id for id, key in needs.items() if key not in usable | stored}
        # What an earlier run returned was not lost, until somebody claims it; a result of it is.
        ended = {(item.image.id, item.image.lease_token) for item in returned} & self.ended
        repeated = {id for id, token in ended if tokens[id] == token + 1}
        assert recorded.lost == {image.id for image, _ in group} - set(held) - repeated
        new = [item for item in new if item.image.id not in recorded.postponed]
        self.ended |= {(item.image.id, item.image.lease_token) for item in new}
        final = [item for item in new if isinstance(item, FinishedImage) and item.image.id not in recorded.returned]
        count = len(final) + recorded.copies.total()
        published = any(item.image.lease_token == tokens[item.image.id] for item in finished)
        assert [snapshot.finished_images for snapshot in recorded.snapshots] == [before + count] * published
        assert not any(self.has_lease(item.image) for item in new)
        if loses_commit and not recorded.postponed and not recorded.returned:
            with self.unchanged_unless(False):
                again = self.write(results.record, finished, returned)
            assert (again.snapshots, again.lost) == (recorded.snapshots, recorded.lost)

    @rule(places=st.integers(1, 6), outcomes=st.lists(st.tuples(st.integers(0, 3), RESULTS | RETURNS), min_size=1))
    def work(self, places: int, outcomes: list[tuple[int, Outcome]]) -> None:
        """A worker that claims images and ends some of them at once."""
        self.claim(places, 0, 60, None)
        if self.claims:
            self.record(outcomes, loses_commit=False)

    @precondition(lambda self: self.claims)
    @rule(those=st.lists(st.integers(0, 7), min_size=1, max_size=6))
    def renew_leases(self, those: list[int]) -> None:
        own = [self.pick(self.claims, which) for which in those]
        held = {image.id for image in own if self.has_lease(image)}
        with self.unchanged_unless(bool(held)):
            assert self.write(claims.renew_leases, own, 60.0) == held

    @precondition(lambda self: self.claims)
    @rule(which=INDEX)
    def mark_crash_suspect(self, which: int) -> None:
        image = self.pick(self.claims, which)
        held = self.has_lease(image)
        with self.unchanged_unless(held):
            assert self.write(claims.mark_crash_suspect, image) == held

    @precondition(lambda self: self.claims)
    @rule(which=INDEX)
    def unmark_crash_suspect(self, which: int) -> None:
        image = self.pick(self.claims, which)
        with self.unchanged_unless(self.has_lease(image)):
            self.write(claims.unmark_crash_suspect, image)

    @rule()
    def wake_due_lanes(self) -> None:
        overdue = {row.id for row in self.read(self.lanes) if row.is_due}
        assert self.write(lanes.wake_due_lanes) == len(overdue)
        assert overdue <= {row.id for row in self.read(self.lanes) if row.ready}

    @rule(which=INDEX)
    def settle(self, which: int) -> None:
        """A process that found too little, perhaps before something was due."""
        self.write(lanes.settle, self.pick(self.read(self.lanes), which).id)

    @rule(results=st.lists(RESULTS, min_size=12, max_size=12))
    def work_off(self, results: list[ImageResult]) -> None:
        """A worker that finds every lease expired and records every image, so that requests do finish."""
        self.time_passes()
        self.write(lanes.wake_due_lanes)
        ends = cycle(results)
        for _ in range(MAX_STEPS):
            wanted = self.read(self.choose_lanes, 64)
            if not wanted:
                break
            claimed = self.write(claims.claim_images, wanted, {}, 60).images
            self.claims += claimed
            self.record_all(claimed, ends)
        request = get_snapshot(self.database, self.id)
        assert request.phase not in CLAIMING or not any(row.due_at for row in self.read(self.images))

    def record_all(self, claimed: tuple[ClaimedImage, ...], ends: Iterator[ImageResult]) -> None:
        finished = [self.finish_image(image, end) for image, end in zip(claimed, ends, strict=False)]
        self.ended |= {(item.image.id, item.image.lease_token) for item in finished}
        while finished:
            recorded = self.write(results.record, finished, [])
            assert not recorded.lost
            finished = [item for item in finished if item.image.id in recorded.postponed]

    @rule()
    def time_passes(self) -> None:
        """Every lease expires, and every delay ends."""
        self.paused_until = {}
        for table, column in (
            (images, images.c.due_at),
            (lane_table, lane_table.c.wake_at),
            (requests, requests.c.lease_until),
            (webhook_deliveries, webhook_deliveries.c.due_at),
        ):
            mine = (table.c.id if table is requests else table.c.request_id) == self.id
            overdue = update(table).where(mine, column > database_now()).values({column.name: database_now()})
            self.write(lambda connection, overdue=overdue: connection.execute(overdue))

    # --- Objects that requests share.

    def finish_image(self, image: ClaimedImage, end: ImageResult) -> FinishedImage:
        """The result of an image; its content is one of two."""
        if end is REUSED and self.found:
            return reused_image(image, self.found[-1])
        end = DONE if end is REUSED else end
        return finished_image(image, end, b"1" if image.url.endswith("1") else b"0")

    @rule()
    def find_renditions(self) -> None:
        """A process finds stored objects, which may be deleted before it records that an image refers to one."""
        self.found += self.read(_renditions)

    @rule(contents=st.lists(st.sampled_from([b"0", b"1"]), min_size=1, max_size=2), is_refresh=st.booleans())
    def process_other_request(self, contents: list[bytes], is_refresh: bool) -> None:
        urls = [f"https://other.example/{n}" for n in range(len(contents))]
        id = given_urls(self.database, urls, refresh=is_refresh)
        items = [
            finished_image(image, DONE, content)
            for image, content in zip(try_claim(self.database, id, len(urls)), contents, strict=True)
        ]
        assert self.write(results.record, items, []).lost == frozenset()
        finish(self.database, id, RequestStatus.COMPLETED)
        for lane in self.read(ready_lanes, id):
            self.write(lanes.settle, lane.id)
        self.others.append(id)

    @precondition(lambda self: self.others)
    @rule(which=INDEX)
    def delete_other_request(self, which: int) -> None:
        id = self.pick(self.others, which)
        self.others.remove(id)
        self.write(transitions.start_deletion, DEFAULT_TENANT, id)
        delete_all(self.database, id)

    @rule(limit=st.integers(1, 3))
    def end_unused_renditions(self, limit: int) -> None:
        """A process deletes objects that nothing needs; it may be killed before it deletes their rows."""
        _, ended = self.write(renditions.end_unused, limit)
        self.deleted_objects |= {item.object_name for item in ended}
        self.unused += ended

    @precondition(lambda self: self.unused)
    @rule()
    def delete_ended_renditions(self) -> None:
        self.write(renditions.delete_ended, self.unused)
        self.unused = []

    @invariant()
    def no_image_lost_its_object(self) -> None:
        assert_images_have_their_renditions(self.database)
        names = self.read(lambda connection: set(connection.scalars(select(images.c.object_name))))
        assert not names & self.deleted_objects

    # --- Lease, stopping, finishing, retry.

    @rule(lease_s=LEASES)
    def acquire_lease(self, lease_s: float) -> None:
        is_waiting = self.id in self.read(work_queries.list_waiting, None, 1000)
        taken = self.write(transitions.acquire, self.id, lease_s)
        assert (taken is not None) == is_waiting
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
        end = FinalState(status, failure, f"output-{lease.token}.csv", lease.token * 10, AUTO_RETRIES, 0)
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
            with pytest.raises(LeaseLost):
                self.write(delete.delete_chunk, killed)
        wanted = {Lane(row.id, self.id, row.host): 4 for row in self.read(self.lanes)}
        assert self.write(claims.claim_images, wanted, {}, 60) == Claim((), ())
        for _ in range(MAX_STEPS):
            if self.database.write_now(delete.delete_chunk, survivor):
                break
        late = self.write(results.record, [finished_image(image) for image in self.claims], [])
        assert late.lost == {image.id for image in self.claims}
        assert self.read(_all_rows, self.id) == [[] for _ in self.read(_all_rows, self.id)]
        while self.others:
            self.delete_other_request(0)
        for _ in range(MAX_STEPS):
            self.end_unused_renditions(3)
            self.delete_ended_renditions()
        assert self.read(_renditions) == []
        assert self.read(lambda connection: connection.scalars(select(sources.c.id)).all()) == []
        assert self.read(lambda connection: connection.scalars(select(tenants.c.stored_bytes)).all()) == [0]

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
                end = FinalState(status, failure, f"output-{lease.token}.csv", lease.token * 10, AUTO_RETRIES, 0)
                self.write(transitions.finish, lease, end)

    # --- Webhooks.

    @rule(lease_s=LEASES)
    def claim_delivery(self, lease_s: float) -> None:
        due = self.read(lambda connection: connection.execute(self.deliveries().order_by("generation")).all())
        if not due:
            return
        claimed = self.write(webhook_outbox.claim_delivery, due[-1].id, lease_s)
        if claimed:
            request = get_snapshot(self.database, self.id)
            assert (claimed.request_id, due[-1].generation) == (request.id, request.generation)
            assert request.status.is_terminal
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
        attempt = DeliveryAttempt(datetime(2026, 1, 1, tzinfo=UTC), 200, error, 5)
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
        final_before, self.final_images = (
            self.final_images,
            {
                row.id: (row.status, row.lease_token, row.outcome, row.error_code)
                for row in self.read(self.images)
                if row.status is not ImageStatus.PENDING
            },
        )
        if before is None:
            return
        assert after.sequence >= before.sequence
        assert after.generation == before.generation + opened
        assert after.status.is_terminal == (after.phase is RequestPhase.DONE)
        if before.phase is not RequestPhase.RETRYING and not opened:
            assert final_before.items() <= self.final_images.items()
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
    def no_wake_up_is_lost(self) -> None:
        """A lane with pending images is ready, or becomes so when the first is due or the pause of its host ends."""
        if not self.layout or get_snapshot(self.database, self.id).phase not in CLAIMING:
            return
        now, first_due = self.now(), dict[UUID, datetime]()
        for image in self.read(self.images):
            if image.due_at:
                first_due[image.lane_id] = min(image.due_at, first_due.get(image.lane_id, image.due_at))
        asleep = {row.id: row.wake_at for row in self.read(self.lanes) if not row.ready}
        for lane_id in asleep.keys() & first_due.keys():
            latest = max(now, first_due[lane_id], self.paused_until.get(lane_id, now)) + WAKE_TOLERANCE
            assert asleep[lane_id] is not None
            assert asleep[lane_id] <= latest

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
        repeated_urls = RepeatedUrls()
        products = []
        for position, size in enumerate(self.layout):
            urls = [_url(position, n) for n in range(size)]
            repeats = repeated_urls.find(position, urls)
            products.append(NewProduct(position, str(position), "p", urls, repeats))
        return products[start : start + count]

    def choose_lanes(self, connection: Connection, places: int) -> dict[Lane, int]:
        return lane_choice.choose_lanes(connection, lanes.list_tenants(connection), places)

    def lanes(self, connection: Connection) -> list[Row[Any]]:
        is_due = lane_table.c.wake_at <= database_now()
        statement = select(lane_table, is_due.label("is_due")).where(lane_table.c.request_id == self.id)
        return list(connection.execute(statement.order_by(lane_table.c.host)))

    def images(self, connection: Connection) -> list[Row[Any]]:
        is_due = images.c.due_at <= database_now()
        return list(connection.execute(select(images, is_due.label("is_due")).where(images.c.request_id == self.id)))

    def now(self) -> datetime:
        now: datetime = self.read(lambda connection: connection.execute(select(database_now())).scalar_one())
        return now

    def has_lease(self, image: ClaimedImage) -> bool:
        """Whether a claim is the newest one of an image that is not final."""
        row = next(row for row in self.read(self.images) if row.id == image.id)
        return bool(row.lease_token == image.lease_token and row.due_at)

    def pick_outcomes(self, outcomes: list[tuple[int, Outcome]]) -> list[tuple[ClaimedImage, Outcome]]:
        return [(self.pick(self.claims, which), outcome) for which, outcome in outcomes]

    @staticmethod
    def pick(those: list[Any], which: int) -> Any:
        return those[-1 - which % len(those)]

    def is_mine(self, lease: RequestLease, *phases: RequestPhase) -> bool:
        return self.has_newest_token(lease) and get_snapshot(self.database, self.id).phase in phases

    def has_newest_token(self, lease: RequestLease) -> bool:
        token: int = self.read(
            lambda connection: connection.execute(
                select(requests.c.lease_token).where(requests.c.id == self.id)
            ).scalar_one()
        )
        return token == lease.token

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


def _url(position: int, n: int) -> str:
    """Two hosts; every third image of a product has the URL of its first one, and products share URLs in pairs."""
    return f"https://{'ab'[n % 2]}.example/{position // 2}"


def _all_rows(connection: Connection, request_id: UUID) -> list[list[Any]]:
    """Every row of a request, without its cleanup, which is also planned for the object of a lost image."""
    return [
        [
            tuple(row)
            for row in connection.execute(
                select(table)
                .where((table.c.id if table is requests else table.c.request_id) == request_id)
                .order_by(*table.primary_key)
            )
        ]
        for table in metadata.sorted_tables
        if table is requests or ("request_id" in table.c and table is not object_cleanups)
    ]


def _delete_all_rows(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        if table not in (tenants, audit_events):
            connection.execute(delete_rows(table))
    connection.execute(update(tenants).values(stored_bytes=0))


def _renditions(connection: Connection) -> list[Rendition]:
    """Those that may be used."""
    is_usable = rendition_table.c.fingerprint.is_not(None)
    columns = [rendition_table.c[name] for name in Rendition.__slots__]
    return [Rendition(*row) for row in connection.execute(select(*columns).where(is_usable))]


def _usable(connection: Connection) -> set[Any]:
    return {_key(item) for item in _renditions(connection)}


def _key(rendition: Rendition) -> Any:
    return rendition.content_id, rendition.fingerprint


def _own_key(item: FinishedImage) -> Any:
    return _key(item.outputs[0].rendition) if item.outputs else None


def _is_reused(item: FinishedImage) -> bool:
    return item.result.outcome is ImageOutcome.REUSED


# Takes seconds unless it fails: hypothesis then searches for the shortest example, which takes minutes.
@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_any_order_of_statements_keeps_the_invariants(database: Database, examples: int) -> None:
    class LifeHere(Life):
        def __init__(self) -> None:
            super().__init__(database)

    with (
        mock.patch.object(cancel, "CANCEL_CHUNK", 1),
        mock.patch.object(results, "MAX_COPIES", 2),
        mock.patch.object(retry, "RETRY_CHUNK", 2),
        mock.patch.object(delete, "DELETE_CHUNK", 1),
        mock.patch.object(renditions, "GRACE_SECONDS", -1.0),
    ):
        run_state_machine_as_test(
            LifeHere,
            settings=settings(
                max_examples=examples,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
