"""A host that refuses requests costs no attempts, but not without end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select, update

from gql_imgproc.database.tables import images
from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.messaging.host_budget import HostGrant
from gql_imgproc.processing.image_task import MAX_REFUSALS, ImageTask
from gql_imgproc.processing.recorder import Recorder
from gql_imgproc.processing.rendition_lookup import RenditionLookup
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.runtime import Runtime
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import claim_image, get_snapshot, given_urls
from tests.support.services import ImageHost, jpeg


@pytest.fixture
async def recorder(runtime: Runtime) -> AsyncIterator[Recorder]:
    recorder = Recorder(runtime, lambda _: None, lambda: 1)
    yield recorder
    await recorder.aclose()


async def process(runtime: Runtime, recorder: Recorder, image: ClaimedImage, *, unserved_s: float = 0.0) -> None:
    """Processes a claimed image, for a download that its host's budget granted, and records the result."""
    grants = await runtime.host_budgets.ask({image.host: 1})
    assert isinstance(grants[image.host], HostGrant)
    group = ImageTask(runtime, recorder, RenditionLookup(runtime), image)
    group.unserved_s = unserved_s
    await group.process()
    await recorder.flush()


async def read_image(runtime: Runtime) -> Any:
    return await runtime.db.read(lambda connection: connection.execute(select(images)).one())


def given_refusing_host(host: ImageHost, retry_after: str = "") -> str:
    """A URL whose host always answers 429."""
    host.statuses = {"/a.jpg": [429] * 100}
    host.retry_after = retry_after
    return host.add("/a.jpg", jpeg(1))


async def test_refusal_costs_no_attempt(runtime: Runtime, recorder: Recorder, image_host: ImageHost) -> None:
    request_id = given_urls(runtime.db, [given_refusing_host(image_host)])

    await process(runtime, recorder, claim_image(runtime.db, request_id))

    image = await read_image(runtime)
    assert (image.status, image.attempts, image.refusals, image.unfinished_claims) == (ImageStatus.PENDING, 0, 1, 0)
    assert image_host.requests == ["/a.jpg"]
    assert get_snapshot(runtime.db, request_id).failed_images == 0


async def test_refusal_while_the_host_refuses_everybody_counts_nothing(
    runtime: Runtime, recorder: Recorder, image_host: ImageHost
) -> None:
    request_id = given_urls(runtime.db, [given_refusing_host(image_host)])

    await process(runtime, recorder, claim_image(runtime.db, request_id), unserved_s=1.0)

    image = await read_image(runtime)
    assert (image.status, image.attempts, image.refusals) == (ImageStatus.PENDING, 0, 0)


@pytest.mark.parametrize(
    ("refusals", "status"), [(MAX_REFUSALS - 2, ImageStatus.PENDING), (MAX_REFUSALS - 1, ImageStatus.FAILED)]
)
async def test_image_fails_after_twenty_refusals_while_its_host_serves_others(
    runtime: Runtime, recorder: Recorder, image_host: ImageHost, refusals: int, status: ImageStatus
) -> None:
    assert MAX_REFUSALS == 20
    # Given an image that its host has refused so often,
    request_id = given_urls(runtime.db, [given_refusing_host(image_host)])
    refused = update(images).values(refusals=refusals)
    await runtime.db.write(lambda connection: connection.execute(refused))

    # when it is refused again,
    await process(runtime, recorder, claim_image(runtime.db, request_id))

    # then the twentieth refusal is the last; a retry may help later.
    image = await read_image(runtime)
    assert image.status is status
    if status is ImageStatus.FAILED:
        assert image.error_code is ImageErrorCode.HOST_OVERLOADED
        assert image.error_retryable
        assert get_snapshot(runtime.db, request_id).failed_images == 1
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.parametrize(("unserved_s", "status"), [(59.0, ImageStatus.PENDING), (61.0, ImageStatus.FAILED)])
async def test_image_fails_when_its_host_has_served_nobody_for_too_long(
    runtime: Runtime, recorder: Recorder, image_host: ImageHost, unserved_s: float, status: ImageStatus
) -> None:
    runtime.settings = runtime.settings.model_copy(update={"host_patience_seconds": 60.0})
    request_id = given_urls(runtime.db, [given_refusing_host(image_host)])

    await process(runtime, recorder, claim_image(runtime.db, request_id), unserved_s=unserved_s)

    image = await read_image(runtime)
    assert (image.status, image.refusals) == (status, 0)
    assert image.error_code is (ImageErrorCode.HOST_OVERLOADED if status is ImageStatus.FAILED else None)
    assert_counters_equal_rows(runtime.db, request_id)


async def test_unexpected_error_is_no_crash(
    runtime: Runtime, recorder: Recorder, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = given_urls(runtime.db, [image_host.add("/a.jpg", jpeg(1))])

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr("gql_imgproc.processing.image.compress_image", fail)
    await process(runtime, recorder, claim_image(runtime.db, request_id))

    image = await read_image(runtime)
    assert (image.status, image.attempts, image.unfinished_claims) == (ImageStatus.PENDING, 1, 0)
