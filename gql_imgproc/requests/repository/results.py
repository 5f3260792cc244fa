"""SQL that records results of images, many in one transaction.

Each image is fenced by its token: an image whose lease was lost is dropped, and the others stay. The request needs no
fence: it is final when no image is pending, and cancelling or reopening an image raises its token. Rows are locked
in the order that `claims` describes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Float, bindparam, null, select, update

from gql_imgproc.database.tables import images
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import ImageStatus
from gql_imgproc.requests.identity import digest
from gql_imgproc.requests.repository import (
    cleanups,
    counters,
    image_outputs,
    image_statistics,
    lanes,
    renditions,
    repeats,
)
from gql_imgproc.requests.repository.image_results import (
    FinishedImage,
    ImageResult,
    Recorded,
    ReturnedImage,
    ReturnReason,
)
from gql_imgproc.requests.repository.image_statistics import FinalImage
from gql_imgproc.requests.snapshot import Snapshot

#: Repeats that get the result of their original in one transaction.
MAX_COPIES = 500
_THROTTLED = (ReturnReason.REFUSED, ReturnReason.HOST_PAUSED)


def record(
    connection: Connection, finished: Collection[FinishedImage], returned: Collection[ReturnedImage]
) -> Recorded:
    """Records results and returned images, and updates all counters.

    It may run again after a commit whose answer was lost: an image that it recorded then counts nothing twice.
    """
    claimed = [*(item.image for item in finished), *(item.image for item in returned)]
    # A process that lost a lease may have claimed the image again: only one of its items is fenced off.
    locked = _lock_images(connection, finished, returned)
    statuses = locked.statuses
    results = [item for item in finished if statuses.get(_lease(item)) is ImageStatus.PENDING]
    returns = [item for item in returned if statuses.get(_lease(item)) is ImageStatus.PENDING]
    changes: defaultdict[UUID, Counter[str]] = defaultdict(Counter)
    linked, inserted = _link_renditions(connection, results, changes)
    unusable = [item for item in results if item.image.id not in linked]
    returns += [ReturnedImage(item.image, ReturnReason.GIVEN_BACK) for item in unusable]
    results = [linked[item.image.id] for item in results if item.image.id in linked]
    # Before their originals: a crash after this transaction leaves an original that is claimed again.
    copies, postponed = _finish_repeats(connection, [item for item in results if item.image.id in locked.originals])
    _plan_checks(connection, [linked[id] for id in postponed if not copies[id]], inserted)
    results = [item for item in results if item.image.id not in postponed]
    if results:
        connection.execute(_FINISH, [_finish_values(item) for item in sorted(results, key=lambda item: item.image.id)])
    if returns:
        connection.execute(_RETURN, [_return_values(item) for item in sorted(returns, key=lambda item: item.image.id)])
    # Also requests of what an earlier run recorded: their snapshots are published now.
    for item in finished:
        if _lease(item) in statuses:
            changes.setdefault(item.image.request_id, Counter())
    finals = [*chain(*copies.values()), *map(_final_image, results)]
    counters.count_images(connection, finals, changes)
    _wake_lanes(connection, returns)
    throttled = [(back.image.request_id, back.image.lane_id) for back in returns if back.reason in _THROTTLED]
    image_statistics.add(connection, finals, throttled=throttled)
    # No row names the object of a lost image, nor one whose bytes another image has stored before.
    leftover = {
        item.image.request_id
        for item in finished
        if item.is_new
        and (_lease(item) not in statuses or item in unusable or _is_superseded(item, linked.get(item.image.id, item)))
    }
    lost = {image.id for image in claimed} - {id for id, _ in statuses} - locked.returned_before
    return Recorded(
        _count_requests(connection, changes, leftover),
        frozenset(lost),
        frozenset(item.image.id for item in unusable),
        frozenset(postponed),
        Counter({id: len(finals) for id, finals in copies.items()}),
    )


def _plan_checks(connection: Connection, postponed: Collection[FinishedImage], inserted: Set[UUID]) -> None:
    """No image refers to these renditions yet, and none will if theirs is cancelled before the next transaction."""
    unreferenced = {output.rendition.id for item in postponed for output in item.outputs}
    renditions.plan_check(connection, unreferenced & inserted)


def _wake_lanes(connection: Connection, returns: Iterable[ReturnedImage]) -> None:
    due: dict[UUID, float] = {}
    for back in returns:
        due[back.image.lane_id] = min(back.delay_s, due.get(back.image.lane_id, back.delay_s))
    lanes.wake_lanes(connection, due)


def _count_requests(
    connection: Connection, changes: Mapping[UUID, Counter[str]], leftover: Set[UUID]
) -> tuple[Snapshot, ...]:
    """Updates the counters of requests, and plans a cleanup of those in `leftover`."""
    snapshots = counters.count_requests(connection, changes)
    for id in sorted(leftover):
        cleanups.plan(connection, id)
    return snapshots


def _link_renditions(
    connection: Connection, results: Collection[FinishedImage], changes: defaultdict[UUID, Counter[str]]
) -> tuple[dict[UUID, FinishedImage], Set[UUID]]:
    """Returns the results by image, each with the object that exists after this transaction, and new renditions.

    A result is missing if one of its renditions cannot be used any more. Objects count as stored by the request that
    brings them, in the transaction that inserts their rows, whether their image gets its result in this one or later.
    """
    stored = [(item.image, output) for item in results for output in item.outputs]
    renditions.replace(connection, [output.rendition for image, output in stored if image.is_refresh])
    new = {output.rendition: image.tenant_id for image, output in stored if output.is_new}
    used = [output.rendition for _, output in stored if not output.is_new]
    existing, inserted = renditions.use(connection, new, used)
    for image, output in stored:
        if output.rendition.id in inserted:
            changes[image.request_id]["stored_bytes"] += output.rendition.output_bytes
    renditions.upsert_sources(connection, [item.source for item in results if item.source])
    linked: dict[UUID, FinishedImage] = {}
    unlinked: set[UUID] = set()
    for item in results:
        found = [existing.get((each.rendition.content_id, each.rendition.fingerprint)) for each in item.outputs]
        outputs = [replace(each, rendition=row) for each, row in zip(item.outputs, found, strict=True) if row]
        if len(outputs) == len(found):
            linked[item.image.id] = item.with_outputs(outputs)
        else:
            unlinked |= inserted & {output.rendition.id for output in outputs}
    # Their images are processed again, perhaps with other bytes. Until then no image refers to them.
    renditions.plan_check(connection, unlinked)
    further = [
        (id, position, output.rendition.id, output.outcome)
        for id, item in sorted(linked.items())
        for position, output in enumerate(item.outputs[1:], start=1)
    ]
    image_outputs.replace(connection, further)
    return linked, inserted


def _is_superseded(item: FinishedImage, linked: FinishedImage) -> bool:
    """Whether an object was stored in vain: another image had stored the same bytes before."""
    outputs = zip(item.outputs, linked.outputs, strict=True)
    return any(own.is_new and own.rendition.id != used.rendition.id for own, used in outputs)


_LOCK_IMAGES = (
    select(images.c.id, images.c.lease_token, images.c.status, images.c.unfinished_claims, images.c.has_repeats)
    .where(images.c.id.in_(bindparam("images", expanding=True)))
    .order_by(images.c.id)
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class _LockedImages:
    #: Of the images whose lease this process holds, or held until it recorded them, by ID and token.
    statuses: dict[tuple[UUID, int], ImageStatus]
    #: Images that an earlier run returned. Like a claim, that raises the token, but it counts no claim. A result of
    #: such an image is too late.
    returned_before: set[UUID]
    #: Images that have repeats.
    originals: set[UUID]


def _lock_images(
    connection: Connection, finished: Iterable[FinishedImage], returned: Iterable[ReturnedImage]
) -> _LockedImages:
    claims = {_lease(item): item.image.unfinished_claims for item in returned}
    leases = claims.keys() | {_lease(item) for item in finished}
    found = connection.execute(_LOCK_IMAGES, {"images": list({id for id, _ in leases})}).all()
    return _LockedImages(
        {(row.id, row.lease_token): row.status for row in found if (row.id, row.lease_token) in leases},
        {row.id for row in found if row.unfinished_claims < claims.get((row.id, row.lease_token - 1), 0)},
        {row.id for row in found if row.has_repeats},
    )


def _lease(item: FinishedImage | ReturnedImage) -> tuple[UUID, int]:
    return item.image.id, item.image.lease_token


_FINISH = (
    update(images)
    .where(images.c.id == bindparam("image"))
    .values({"due_at": null(), **{name: bindparam(f"new_{name}") for name in ImageResult.__slots__}})
)
# The token is raised, so that a second run of the transaction finds nothing to return.
_RETURN = (
    update(images)
    .where(images.c.id == bindparam("image"))
    .values(
        due_at=now_plus(bindparam("delay_s", type_=Float)),
        lease_token=images.c.lease_token + 1,
        attempts=images.c.attempts - bindparam("uncounted"),
        unfinished_claims=bindparam("new_unfinished_claims"),
        crashes=bindparam("new_crashes"),
        refusals=images.c.refusals + bindparam("refused"),
    )
)


def _finish_repeats(
    connection: Connection, originals: Iterable[FinishedImage]
) -> tuple[dict[UUID, list[FinalImage]], set[UUID]]:
    """The repeats that are final now, by original, and the originals that may have more of them."""
    copies: dict[UUID, list[FinalImage]] = {}
    left, postponed = MAX_COPIES, set()
    for item in originals:
        finals = repeats.finish_repeats(connection, item, left)
        copies[item.image.id] = finals
        left -= len(finals)
        if not left:
            postponed.add(item.image.id)
    return copies, postponed


def _final_image(item: FinishedImage) -> FinalImage:
    image = {name: getattr(item.image, name) for name in ("request_id", "product_id", "lane_id")}
    result = {name: getattr(item.result, name) for name in ImageResult.__slots__ if name in FinalImage.__slots__}
    url_digest = digest(item.image.url)
    return FinalImage(**image, **result, url_digest=url_digest, not_downloaded_bytes=item.not_downloaded_bytes)


def _finish_values(item: FinishedImage) -> dict[str, Any]:
    return {"image": item.image.id, **{f"new_{name}": getattr(item.result, name) for name in ImageResult.__slots__}}


def _return_values(item: ReturnedImage) -> dict[str, Any]:
    is_given_back = item.reason is ReturnReason.GIVEN_BACK
    return {
        "image": item.image.id,
        "delay_s": item.delay_s,
        # A claim after one that ended without a word was no attempt of its own.
        "uncounted": int(item.reason is not ReturnReason.FAILED and not item.image.is_suspect),
        # A suspect that is given back untried stays one.
        "new_unfinished_claims": item.image.unfinished_claims - 1 if is_given_back else 0,
        # Marked as a crash suspect or not: its worker did not crash.
        "new_crashes": item.image.crashes,
        "refused": int(item.reason is ReturnReason.REFUSED),
    }
