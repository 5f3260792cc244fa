"""The public client against the service in this process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from gql_imgproc.client import AsyncClient, Client, CsvIssue, Priority, RequestStatus, ServiceError, UserError
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.graphql import errors as graphql_errors
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests import upload
from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api
from tests.support.databases import create_sqlite
from tests.support.scenarios import FAILED, claim_image, finish, given_request, record
from tests.web.test_file_authorization import given_end

CSV = b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/1.jpg\n"
UNKNOWN = encode_global_id(IdPrefix.REQUEST, UUID(int=7))


@pytest.fixture
async def service(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[str, Any]]:
    """URL and state of a service without workers that process images."""
    url = create_sqlite(tmp_path / "test.db")
    settings = Settings(_env_file=None, database_url=url, redis_url=redis_url, data_dir=tmp_path / "data")
    async with serve_api(settings) as (host, app):
        yield f"http://{host}", app.state


async def test_blocking_client_uploads_watches_cancels_and_deletes(service: tuple[str, Any], tmp_path: Path) -> None:
    def story() -> None:
        (tmp_path / "shop.csv").write_bytes(CSV)
        with Client(service[0]) as client:
            # Given an upload, which the same idempotency key repeats,
            options = {"quality": 60}
            first = client.upload(
                tmp_path / "shop.csv", priority=Priority.HIGH, options=options, idempotency_key="order 7"
            )
            again = client.upload(
                io.BytesIO(CSV), "other.csv", priority=Priority.HIGH, options=options, idempotency_key="order 7"
            )
            with pytest.raises(UserError, match=f"The idempotency key belongs to the request {first.id}, ") as reused:
                client.upload(io.BytesIO(CSV), idempotency_key="order 7")
            assert reused.value.code == "IdempotencyKeyReused"
            query = "query ($id: ID!) { request(id: $id) { options { quality } } }"
            assert client.execute(query, {"id": first.id}) == {"request": {"options": options}}
            assert (again.id, first.csv_filename, first.priority) == (first.id, "shop.csv", Priority.HIGH)
            assert (first.total_products, first.total_images, first.finished_images) == (1, 1, 0)

            # when it is watched and cancelled,
            states = client.watch(first.id)
            assert next(states).status is RequestStatus.PENDING
            cancelled = client.cancel(first.id)
            *_, final = states

            # then its final state is watched, read and listed, until it is deleted.
            assert cancelled.status is final.status is RequestStatus.CANCELLED
            assert client.get(first.id) == final
            assert list(client.list()) == list(client.list(RequestStatus.CANCELLED)) == [final]
            assert list(client.list(RequestStatus.COMPLETED)) == []
            client.delete(first.id)
            assert list(client.list()) == []

    await asyncio.to_thread(story)


async def test_upload_of_unknown_outcome_is_repeated_and_creates_one_request(
    service: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that commits an upload, and then is unavailable,
    monkeypatch.setattr(graphql_errors, "UNAVAILABLE_RETRY_AFTER_S", 0.01)
    record, failures = upload._record, [DatabaseUnavailable("lost", is_outcome_unknown=True)]

    async def record_and_fail_once(*args: Any) -> Any:
        recorded = await record(*args)
        if failures:
            raise failures.pop()
        return recorded

    monkeypatch.setattr(upload, "_record", record_and_fail_once)

    # when a file is uploaded,
    async with AsyncClient(service[0]) as client:
        request = await client.upload(io.BytesIO(CSV))

        # then the request that was created is returned.
        assert failures == []
        assert request.total_products == 1
        assert [listed async for listed in client.list()] == [request]


async def test_output_csv_of_a_finished_request_is_downloaded(service: tuple[str, Any], tmp_path: Path) -> None:
    url, state = service
    finished = encode_global_id(IdPrefix.REQUEST, (await given_end(state))[0])
    async with AsyncClient(url) as client:
        (request,) = [request async for request in client.watch(finished)]
        pending = await client.upload(io.BytesIO(CSV))
        with pytest.raises(ServiceError) as error:
            await client.download(pending, tmp_path / "none.csv")
        # The URL starts with PUBLIC_URL, which does not contain this server's port.
        assert request.output_csv_url is not None
        await client.download(f"{url}{httpx.URL(request.output_csv_url).path}", tmp_path / "output.csv")

    assert str(error.value) == "The request has no output CSV. Its status is PENDING"
    assert (tmp_path / "output.csv").read_bytes() == b"S. No.\r\n"
    assert not (tmp_path / "none.csv").exists()


async def test_failed_images_are_retried(service: tuple[str, Any]) -> None:
    url, state = service
    db = state.runtime.db
    request_id = given_request(db, 1)
    record(db, claim_image(db, request_id), FAILED)
    finish(db, request_id, RequestStatus.FAILED)
    async with AsyncClient(url) as client:
        retried = await client.retry(encode_global_id(IdPrefix.REQUEST, request_id))

    assert (retried.status, retried.failed_images) == (RequestStatus.PROCESSING, 0)


async def test_refused_file_lists_its_issues(service: tuple[str, Any]) -> None:
    async with AsyncClient(service[0]) as client:
        with pytest.raises(UserError) as error:
            await client.upload(io.BytesIO(CSV + b"2,,https://shop.example/2.jpg\n"))
        uploaded = [request async for request in client.list()]

    assert (error.value.code, error.value.total_issues, uploaded) == ("CsvInvalid", 1, [])
    (issue,) = error.value.issues
    assert issue == CsvIssue(3, "Product Name", "PRODUCT_NAME_EMPTY", issue.message)


async def test_unknown_request_is_an_error_of_every_method(service: tuple[str, Any]) -> None:
    async with AsyncClient(service[0]) as client:
        for method in (client.cancel, client.retry, client.delete):
            with pytest.raises(UserError) as error:
                await method(UNKNOWN)
            assert error.value.code == "RequestNotFound"
        with pytest.raises(ServiceError, match="Request not found"):
            await client.get(UNKNOWN)
        with pytest.raises(ServiceError, match="Request not found"):
            await anext(client.watch(UNKNOWN))


async def test_list_reads_every_page(service: tuple[str, Any]) -> None:
    url, state = service
    ids = [encode_global_id(IdPrefix.REQUEST, given_request(state.runtime.db, 1)) for _ in range(101)]
    async with AsyncClient(url) as client:
        assert [request.id async for request in client.list()] == ids[::-1]
