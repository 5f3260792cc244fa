"""Rate limits: counted across processes, per key or IP address, and without Redis."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import websockets

from gql_imgproc.access import key_repository
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.messaging.rate_limiter import PREFIX
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, error_of, open_api, serve_api
from tests.graphql.live_server import PROGRESS
from tests.support.api_keys import bearer, given_key, given_tenant

RATE = "{ rateLimit { limit remaining resetAt } }"
TYPENAME = "{ __typename }"
CSV = b"S. No.,Product Name,Input Image Urls\n1,Chair,https://x.example/1.jpg\n"
UNREACHABLE_REDIS = "unix:///nowhere/redis"


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


def with_rates(settings: Settings, **values: str) -> Settings:
    return settings.model_copy(update=values)


async def execute(api: Api, headers: dict[str, str], query: str = TYPENAME) -> httpx.Response:
    return await api.http.post("/graphql", json={"query": query}, headers=headers)


def let_time_pass(settings: Settings, seconds: int) -> None:
    """Makes every call that counts so much older."""
    with redis.Redis.from_url(settings.redis_url) as client:
        for key in client.scan_iter(f"{PREFIX}*"):
            client.lset(key, 0, float(client.lindex(key, 0)) - seconds)


async def test_limit_is_exact_across_processes(settings: Settings) -> None:
    settings = with_rates(settings, rate_operations="5/minute")
    async with open_api(settings) as first, open_api(settings) as second:
        one, _ = given_key(first.runtime.db)
        other, _ = given_key(first.runtime.db, given_tenant(first.runtime.db, "other"))

        responses = await asyncio.gather(*(execute(api, bearer(one)) for api in (first, second) * 5))
        other_key = await execute(second, bearer(other), RATE)

    assert sorted(response.status_code for response in responses) == [200] * 5 + [429] * 5
    refused = next(response for response in responses if response.status_code == 429)
    (error,) = refused.json()["errors"]
    seconds = error["extensions"]["retryAfter"]
    assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": seconds}
    assert error["message"] == f"Rate limit exceeded for operations. Retry in {seconds} s."
    assert refused.headers["retry-after"] == str(seconds)
    assert 50 < seconds <= 60
    rate_limit = other_key.json()["data"]["rateLimit"]
    # This query counts too, once.
    assert (rate_limit["limit"], rate_limit["remaining"]) == (5, 4)


async def test_keys_of_a_tenant_share_a_multiple_of_the_limit(settings: Settings) -> None:
    settings = with_rates(settings, rate_operations="2/minute").model_copy(update={"rate_keys_per_tenant": 2})
    async with open_api(settings) as api:
        # Given three keys of a tenant and one of another,
        db = api.runtime.db
        keys = [given_key(db)[0] for _ in range(3)]
        other, _ = given_key(db, given_tenant(db, "other"))

        # when each key uses its own limit,
        statuses = [(await execute(api, bearer(key))).status_code for key in (*keys, *keys, other)]

        # then the tenant has twice the limit of a key, and the other tenant its own.
        assert statuses == [200, 200, 200, 200, 429, 429, 200]


async def test_what_remains_counts_the_other_keys_of_the_tenant(settings: Settings) -> None:
    settings = with_rates(settings, rate_operations="4/minute").model_copy(update={"rate_keys_per_tenant": 2})
    async with open_api(settings) as api:
        # Given a tenant with eight calls, of which two of its keys have used six,
        one, two, three = (given_key(api.runtime.db)[0] for _ in range(3))
        for key in (one, one, one, two, two, two):
            await execute(api, bearer(key))

        # when a third key asks, then one call is left besides this one, although this key has used only one of four.
        response = await execute(api, bearer(three), RATE)
        rate_limit = response.json()["data"]["rateLimit"]
        assert (rate_limit["limit"], rate_limit["remaining"]) == (8, 1)


async def test_source_images_are_limited_per_tenant(settings: Settings) -> None:
    async with open_api(with_rates(settings, rate_sources="2/minute")) as api:
        own, other = given_key(api.runtime.db)[0], given_key(api.runtime.db, given_tenant(api.runtime.db, "other"))[0]
        path = f"/api/source/{encode_global_id(IdPrefix.IMAGE, new_id())}"

        responses = [await api.http.get(path, headers=bearer(key)) for key in (own, own, own, other)]

    assert [response.status_code for response in responses] == [404, 404, 429, 404]
    seconds = responses[2].headers["retry-after"]
    assert responses[2].json() == {"error": f"Rate limit exceeded for sources. Retry in {seconds} s."}


async def test_request_after_retry_after_is_accepted(settings: Settings) -> None:
    async with open_api(with_rates(settings, rate_operations="1/minute")) as api:
        # Given a call that was refused,
        key, _ = given_key(api.runtime.db)
        assert (await execute(api, bearer(key))).status_code == 200
        refused = await execute(api, bearer(key))
        assert refused.status_code == 429

        # when the time that the response names has passed since the first call, then another one is accepted.
        let_time_pass(settings, int(refused.headers["retry-after"]))
        assert (await execute(api, bearer(key))).status_code == 200


async def test_anonymous_caller_of_a_laptop_has_no_limits(settings: Settings) -> None:
    strict = with_rates(settings, rate_operations="1/day", rate_uploads="1/day").model_copy(
        update={"quota_open_requests": 1}
    )
    async with open_api(strict, anonymous=AnonymousAccess.WHILE_NO_KEY) as api:
        for _ in range(3):
            assert (await api.upload(CSV, "__typename"))["__typename"] == "UploadCsvSuccess"
        assert await api.data(RATE) == {"rateLimit": None}


@pytest.mark.parametrize(
    ("trusted_proxies", "statuses"),
    # Only the last entry is from the trusted proxy, and one customer can have a whole IPv6 /64 network.
    [("127.0.0.0/8", [200, 200, 429, 200]), ("", [200, 200, 429, 429])],
)
async def test_anonymous_callers_are_counted_by_ip_address_of_trusted_proxies(
    settings: Settings, trusted_proxies: str, statuses: list[int]
) -> None:
    values = settings.model_dump() | {"rate_operations": "2/minute", "trusted_proxies": trusted_proxies}
    headers = ["9.9.9.9, 2001:db8::1", "8.8.8.8, 2001:db8::2", "2001:db8::3", "203.0.113.7:4711"]

    async with open_api(Settings(**values, _env_file=None), anonymous=AnonymousAccess.ALWAYS) as api:
        responses = [await execute(api, {"X-Forwarded-For": header}) for header in headers]

    assert [response.status_code for response in responses] == statuses


async def test_uploads_are_counted_before_their_bodies_are_read(settings: Settings) -> None:
    async with open_api(with_rates(settings, rate_uploads="1/minute")) as api:
        key, _ = given_key(api.runtime.db)
        api.http.headers.update(bearer(key))
        assert (await api.upload(CSV, "__typename"))["__typename"] == "UploadCsvSuccess"
        chunks_sent = 0

        async def endless() -> Any:
            nonlocal chunks_sent
            while True:
                chunks_sent += 1
                yield b"x" * 65536

        refused = await api.http.post(
            "/graphql",
            headers={"Content-Type": "multipart/form-data; boundary=b", "GraphQL-Preflight": "1"},
            content=endless(),
        )
        total = await api.data("{ requests { totalCount } }")

    status, code, message = error_of(refused)
    assert (status, code) == (429, "RATE_LIMITED")
    assert message.startswith("Rate limit exceeded for uploads.")
    assert chunks_sent <= 1
    assert total == {"requests": {"totalCount": 1}}


async def test_limited_operation_on_a_socket_is_an_error_and_the_socket_stays_open(settings: Settings) -> None:
    settings = with_rates(settings, rate_operations="3/minute", rate_subscriptions="1/minute")
    async with serve_api(settings) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        async with websockets.connect(f"ws://{host}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]

            async def exchange(message: dict[str, Any]) -> Any:
                await socket.send(json.dumps(message))
                return json.loads(await socket.recv())

            async def subscribe(number: str, query: str) -> Any:
                payload = {"query": query, "variables": {"id": "req_x"}}
                return await exchange({"id": number, "type": "subscribe", "payload": payload})

            await exchange({"type": "connection_init", "payload": bearer(key)})
            unknown = await subscribe("1", PROGRESS)
            assert unknown["payload"]["errors"][0]["extensions"]["code"] == "NOT_FOUND"
            assert json.loads(await socket.recv()) == {"id": "1", "type": "complete"}
            second = await subscribe("2", PROGRESS)
            third = await subscribe("3", TYPENAME)
            assert json.loads(await socket.recv()) == {"id": "3", "type": "complete"}
            fourth = await subscribe("4", TYPENAME)
            pong = await exchange({"type": "ping"})

        async with httpx.AsyncClient() as http:
            over_http = await http.post(f"http://{host}/graphql", json={"query": TYPENAME}, headers=bearer(key))

    for message, number, action in ((second, "2", "subscriptions"), (fourth, "4", "operations")):
        assert (message["type"], message["id"]) == ("error", number)
        assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert 50 < message["payload"][0]["extensions"]["retryAfter"] <= 60
        assert message["payload"][0]["message"].startswith(f"Rate limit exceeded for {action}.")
    assert third == {"id": "3", "type": "next", "payload": {"data": {"__typename": "Query"}}}
    assert pong == {"type": "pong"}
    assert over_http.status_code == 429


async def test_limited_stream_is_rejected_by_status(settings: Settings) -> None:
    async with open_api(with_rates(settings, rate_subscriptions="1/minute")) as api:
        key, _ = given_key(api.runtime.db)
        operation = {"query": PROGRESS, "variables": {"id": "req_x"}}
        headers = bearer(key) | {"Accept": "text/event-stream"}
        first = await api.http.post("/graphql", json=operation, headers=headers)
        second = await api.http.post("/graphql", json=operation, headers=headers)
        query = await api.http.post("/graphql", json={"query": TYPENAME}, headers=headers)

    assert (first.status_code, query.status_code) == (200, 200)
    assert error_of(second)[:2] == (429, "RATE_LIMITED")


async def test_without_redis_operations_are_unlimited_and_uploads_limited_per_process(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gql_imgproc.messaging.outage")
    settings = with_rates(settings, rate_operations="1/minute", rate_uploads="2/minute", redis_url=UNREACHABLE_REDIS)
    async with open_api(settings) as api:
        key, _ = given_key(api.runtime.db)
        reads = [await execute(api, bearer(key)) for _ in range(20)]
        uploads = [await api.http.post("/graphql", headers=bearer(key), files={"0": b""}) for _ in range(3)]
        rate = await execute(api, bearer(key), RATE)

    assert {read.status_code for read in reads} == {200}
    # All are invalid; the last is limited before that is checked.
    assert [upload.status_code for upload in uploads] == [400, 400, 429]
    assert rate.json()["data"] == {"rateLimit": None}
    # One warning: after a failure Redis is not asked for a while, so nothing waits for it 23 times.
    assert [record.message for record in caplog.records if record.name == "gql_imgproc.messaging.outage"] == [
        "rate limiter: Redis unavailable"
    ]


@pytest.mark.parametrize("without_redis", [False, True])
async def test_failed_auth_limit_still_admits_known_keys(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, without_redis: bool
) -> None:
    settings = with_rates(
        settings, rate_failures="3/minute", **({"redis_url": UNREACHABLE_REDIS} if without_redis else {})
    )
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        known, _ = given_key(api.runtime.db)
        fresh, _ = given_key(api.runtime.db)
        assert (await execute(api, bearer(known))).status_code == 200
        invalid = [f"gip_{n:012}_{'x' * 40}" for n in range(4)]
        attempts = [await execute(api, bearer(key)) for key in invalid]
        count_lookups = _record_lookups(monkeypatch)
        fresh_key = await execute(api, bearer(fresh))
        download = await api.http.get(
            f"/api/download/{encode_global_id(IdPrefix.REQUEST, new_id())}", headers=bearer(invalid[0])
        )
        lookups = count_lookups()
        known_key = await execute(api, bearer(known))
        without_key = await execute(api, {})

    assert [response.status_code for response in attempts] == [401, 401, 401, 429]
    assert error_of(attempts[3])[1] == "RATE_LIMITED"
    assert "failed authentications" in error_of(attempts[3])[2]
    # Not even a valid key is looked up, if this process has not seen it yet.
    assert fresh_key.status_code == 429
    assert lookups == 0
    assert (download.status_code, "retry-after" in download.headers) == (429, True)
    assert known_key.status_code == 200
    # A request without a key is no failed attempt.
    assert without_key.status_code == 401


def _record_lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[object] = []
    find = key_repository.find_by_secret

    def record(*args: Any) -> Any:
        calls.append(args)
        return find(*args)

    monkeypatch.setattr(key_repository, "find_by_secret", record)
    return lambda: len(calls)
