"""After a commit whose answer was lost, the transaction runs again. It must not do anything twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, select

from gql_imgproc.access import api_keys, key_repository
from gql_imgproc.database.tables import api_keys as api_keys_table
from gql_imgproc.database.tables import images
from gql_imgproc.enums import RequestPhase, RequestStatus
from gql_imgproc.errors import ApiKeyNotRotatable, NothingToRetry, RequestNotFound
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import claims
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.api_key import parse_api_key
from gql_imgproc.security.scopes import Scope
from tests.support.api_clients import ANYBODY
from tests.support.lost_commits import lost_commits
from tests.support.scenarios import claim_image
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"


async def test_retry_and_delete_are_idempotent_after_lost_commit(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "WAIT_SECONDS", 0)
    url = f"{image_host.url}/late.jpg"
    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{url}"\n')).snapshot.id
    await work_all(runtime)
    image_host.add("/late.jpg", jpeg(1))

    with lost_commits():
        retried = await commands.retry_failed(runtime, ANYBODY, request_id)
    assert (retried.status, retried.generation, retried.phase) == (RequestStatus.PROCESSING, 2, RequestPhase.RETRYING)
    with pytest.raises(NothingToRetry):
        await commands.retry_failed(runtime, ANYBODY, request_id)
    await work_all(runtime)

    with lost_commits():
        await commands.delete(runtime, ANYBODY, request_id)
    await work_all(runtime)
    assert await runtime.storage.list_keys("requests/") == []
    with lost_commits(), pytest.raises(RequestNotFound):
        await commands.delete(runtime, ANYBODY, request_id)


async def test_crash_is_counted_once_after_lost_commit(runtime: Runtime) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,Chair,https://images.example/a.jpg\n")).snapshot.id
    image = claim_image(runtime.db, request_id)

    with lost_commits():
        assert await runtime.db.write(claims.mark_crash_suspect, image)

    assert await runtime.db.read(Connection.scalar, select(images.c.crashes)) == 1


async def test_issued_key_exists_after_lost_commit(runtime: Runtime) -> None:
    with lost_commits():
        created = await api_keys.create(runtime.db, ANYBODY, "shop", [Scope.READ], None)
        rotated = await api_keys.rotate(runtime.db, ANYBODY, created.key.id, timedelta(0))

    for issued in (created, rotated):
        parsed = parse_api_key(issued.text)
        assert parsed is not None
        found = await runtime.db.read(key_repository.find_by_secret, parsed)
        assert found is not None
        assert found.key.id == issued.key.id
    count = select(func.count()).select_from(api_keys_table)
    assert await runtime.db.read(Connection.scalar, count) == 2
    with pytest.raises(ApiKeyNotRotatable):
        await api_keys.rotate(runtime.db, ANYBODY, created.key.id, timedelta(0))
