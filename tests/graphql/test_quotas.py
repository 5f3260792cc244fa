"""A refusal by quota says what there is too much of and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from gql_imgproc.database.tables import images, products, requests, tenants
from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import REQUESTS_PREFIX
from tests.graphql.client import Api, opened
from tests.support.api_keys import bearer, given_key
from tests.support.scenarios import DONE, FAILED, claim_product, finish, get_snapshot, given_request, record

CSV = b"S. No.,Product Name,Input Image Urls\n" + b"".join(
    b"%d,Chair,https://x.example/1.jpg\n" % n for n in range(1, 4)
)
OUTCOME = "__typename ... on UserError { message path } ... on UploadCsvSuccess { replayed }"
EXCEEDED = f"{OUTCOME} ... on QuotaExceeded {{ quota limit used retryAt }}"


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


async def left_behind(api: Api) -> tuple[list[int], int]:
    """Rows of requests, products and images, and folders of the store."""
    counts = [select(func.count()).select_from(table) for table in (requests, products, images)]
    rows = await api.runtime.db.read(lambda connection: [connection.execute(count).scalar_one() for count in counts])
    return rows, len(await api.runtime.storage.list_folders(REQUESTS_PREFIX))


def play(settings: Settings, story: Any, **quotas: int) -> None:
    async def run() -> None:
        async with opened(settings.model_copy(update=quotas)) as api:
            api.http.headers.update(bearer(given_key(api.runtime.db)[0]))
            await story(api)

    asyncio.run(run())


def test_an_upload_beyond_the_open_requests_is_refused_before_it_is_looked_at(settings: Settings) -> None:
    async def story(api: Api) -> None:
        assert (await api.upload(CSV, OUTCOME, idempotencyKey="one"))["__typename"] == "UploadCsvSuccess"
        before = await left_behind(api)
        refused = await api.upload(b"no CSV at all", EXCEEDED)
        again = await api.upload(CSV, OUTCOME, idempotencyKey="one")

        assert refused == {
            "__typename": "QuotaExceeded",
            "message": "Quota exceeded: 1 of 1 open requests. Wait for one to finish or cancel one.",
            "path": ["input", "file"],
            "quota": "OPEN_REQUESTS",
            "limit": 1,
            "used": 1,
            "retryAt": None,
        }
        # Whoever repeats an upload that was taken hears of it all the same.
        assert again["replayed"] is True
        assert await left_behind(api) == before == ([1, 3, 3], 1)

    play(settings, story, quota_open_requests=1)


def test_an_upload_with_too_many_pictures_leaves_nothing_behind(settings: Settings) -> None:
    async def story(api: Api) -> None:
        assert (await api.upload(CSV, OUTCOME))["__typename"] == "UploadCsvSuccess"
        refused = await api.upload(CSV, EXCEEDED)

        assert (refused["quota"], refused["limit"], refused["used"]) == ("PENDING_IMAGES", 5, 3)
        assert await left_behind(api) == ([1, 3, 3], 1)

    play(settings, story, quota_pending_images=5)


def test_of_five_at_once_with_one_key_one_is_taken_and_the_others_hear_of_it(settings: Settings) -> None:
    async def story(api: Api) -> None:
        answers = await asyncio.gather(*(api.upload(CSV, OUTCOME, idempotencyKey="same") for _ in range(5)))

        assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 4
        assert await left_behind(api) == ([1, 3, 3], 1)

    play(settings, story, quota_open_requests=1)


def test_the_size_of_a_tenants_csv_files_is_its_own(settings: Settings) -> None:
    async def story(api: Api) -> None:
        own = update(tenants).where(tenants.c.id == DEFAULT_TENANT).values(max_csv_bytes=len(CSV))
        await api.runtime.db.write(lambda connection: connection.execute(own))
        fields = f"{OUTCOME} ... on UploadTooLarge {{ limitBytes }}"
        fits = await api.upload(CSV, fields)
        larger = await api.upload(CSV + b"\n", fields)

        assert fits["__typename"] == "UploadCsvSuccess"
        assert (larger["__typename"], larger["limitBytes"]) == ("UploadTooLarge", len(CSV))
        assert await left_behind(api) == ([1, 3, 3], 1)

    play(settings, story, quota_csv_bytes=10)


def test_a_retry_counts_as_another_open_request(settings: Settings) -> None:
    async def story(api: Api) -> None:
        db = api.runtime.db
        ended = given_request(db, 2)
        held = claim_product(db, ended)
        record(db, held, 0, DONE)
        record(db, held, 1, FAILED)
        finish(db, get_snapshot(db, ended), RequestStatus.COMPLETED_WITH_ERRORS)
        given_request(db, 1)

        query = f"mutation($id: ID!) {{ retryFailedImages(input: {{id: $id}}) {{ {EXCEEDED} }} }}".replace(
            "... on UploadCsvSuccess { replayed }", ""
        )
        outcome = (await api.data(query, id=encode_global_id(IdPrefix.REQUEST, ended)))["retryFailedImages"]

        assert (outcome["quota"], outcome["path"]) == ("OPEN_REQUESTS", ["input", "id"])
        assert get_snapshot(db, ended).failed_images == 1

    play(settings, story, quota_open_requests=1)
