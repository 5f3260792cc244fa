"""An upload above a quota is refused with the quota, its limit and its usage, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from gql_imgproc.database.tables import images, products, requests, tenants
from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import REQUESTS_PREFIX
from tests.graphql.client import Api, open_api
from tests.support.api_keys import bearer, given_key
from tests.support.scenarios import DONE, FAILED, claim_image, finish, get_snapshot, given_request, record

CSV = b"S. No.,Product Name,Input Image Urls\n" + b"".join(
    b"%d,Chair,https://x.example/1.jpg\n" % n for n in range(1, 4)
)
RESULT = "__typename ... on UserError { message path } ... on UploadCsvSuccess { replayed }"
EXCEEDED = f"{RESULT} ... on QuotaExceeded {{ quota limit used retryAt }}"


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


async def count_stored(api: Api) -> tuple[list[int], int]:
    """Numbers of requests, products and images, and of folders in the object store."""
    counts = [select(func.count()).select_from(table) for table in (requests, products, images)]
    rows = await api.runtime.db.read(lambda connection: [connection.execute(count).scalar_one() for count in counts])
    return rows, len(await api.runtime.storage.list_folders(REQUESTS_PREFIX))


@asynccontextmanager
async def open_api_with_quotas(settings: Settings, **quotas: int) -> AsyncIterator[Api]:
    """A client with an API key, since quotas do not apply to anonymous callers of a laptop."""
    async with open_api(settings.model_copy(update=quotas)) as api:
        api.http.headers.update(bearer(given_key(api.runtime.db)[0]))
        yield api


async def test_upload_above_the_quota_of_open_requests_is_refused_unread(settings: Settings) -> None:
    async with open_api_with_quotas(settings, quota_open_requests=1) as api:
        assert (await api.upload(CSV, RESULT, idempotencyKey="one"))["__typename"] == "UploadCsvSuccess"
        before = await count_stored(api)
        refused = await api.upload(b"no CSV at all", EXCEEDED)
        again = await api.upload(CSV, RESULT, idempotencyKey="one")

        assert refused == {
            "__typename": "QuotaExceeded",
            "message": "Quota exceeded: 1 of 1 open requests. Wait for one to finish or cancel one.",
            "path": ["input", "file"],
            "quota": "OPEN_REQUESTS",
            "limit": 1,
            "used": 1,
            "retryAt": None,
        }
        # A repeated upload still returns the first request.
        assert again["replayed"] is True
        assert await count_stored(api) == before == ([1, 3, 3], 1)


async def test_upload_above_the_quota_of_images_leaves_nothing_behind(settings: Settings) -> None:
    async with open_api_with_quotas(settings, quota_pending_images=5) as api:
        assert (await api.upload(CSV, RESULT))["__typename"] == "UploadCsvSuccess"
        refused = await api.upload(CSV, EXCEEDED)

        assert (refused["quota"], refused["limit"], refused["used"]) == ("PENDING_IMAGES", 5, 3)
        assert await count_stored(api) == ([1, 3, 3], 1)


@pytest.mark.parametrize(
    ("quotas", "expected"),
    [
        ({"quota_open_rows": 5}, ("OPEN_ROWS", 5, 3)),
        ({"quota_stored_bytes": 2 * len(CSV) - 1}, ("STORED_BYTES", 2 * len(CSV) - 1, len(CSV))),
    ],
)
async def test_upload_above_the_quota_of_rows_or_bytes_leaves_nothing_behind(
    settings: Settings, quotas: dict[str, int], expected: tuple[str, int, int]
) -> None:
    async with open_api_with_quotas(settings, **quotas) as api:
        assert (await api.upload(CSV, RESULT))["__typename"] == "UploadCsvSuccess"
        refused = await api.upload(CSV, EXCEEDED)

        assert (refused["quota"], refused["limit"], refused["used"]) == expected
        assert await count_stored(api) == ([1, 3, 3], 1)


async def test_concurrent_uploads_with_one_idempotency_key_create_one_request(settings: Settings) -> None:
    async with open_api_with_quotas(settings, quota_open_requests=1) as api:
        results = await asyncio.gather(*(api.upload(CSV, RESULT, idempotencyKey="same") for _ in range(5)))

        assert sorted(result["replayed"] for result in results) == [False] + [True] * 4
        assert await count_stored(api) == ([1, 3, 3], 1)


async def test_tenant_quota_of_csv_bytes_overrides_the_default(settings: Settings) -> None:
    async with open_api_with_quotas(settings, quota_csv_bytes=10) as api:
        set_quota = update(tenants).where(tenants.c.id == DEFAULT_TENANT).values(max_csv_bytes=len(CSV))
        await api.runtime.db.write(lambda connection: connection.execute(set_quota))
        fields = f"{RESULT} ... on UploadTooLarge {{ limitBytes }}"
        fits = await api.upload(CSV, fields)
        larger = await api.upload(CSV + b"\n", fields)

        assert fits["__typename"] == "UploadCsvSuccess"
        assert (larger["__typename"], larger["limitBytes"]) == ("UploadTooLarge", len(CSV))
        assert await count_stored(api) == ([1, 3, 3], 1)


async def test_retry_counts_as_an_open_request(settings: Settings) -> None:
    async with open_api_with_quotas(settings, quota_open_requests=1) as api:
        db = api.runtime.db
        final = given_request(db, 2)
        record(db, claim_image(db, final), DONE)
        record(db, claim_image(db, final), FAILED)
        finish(db, final, RequestStatus.COMPLETED_WITH_ERRORS)
        given_request(db, 1)

        query = f"mutation($id: ID!) {{ retryFailedImages(input: {{id: $id}}) {{ {EXCEEDED} }} }}".replace(
            "... on UploadCsvSuccess { replayed }", ""
        )
        result = (await api.data(query, id=encode_global_id(IdPrefix.REQUEST, final)))["retryFailedImages"]

        assert (result["quota"], result["path"]) == ("OPEN_REQUESTS", ["input", "id"])
        assert get_snapshot(db, final).failed_images == 1
