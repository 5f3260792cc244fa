"""How often callers may do something: counted over all processes, told in their own words, and without Redis too."""

from __future__ import annotations

import asyncio
import json
import logging
import time
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
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, error_of, opened, served
from tests.graphql.live_server import PROGRESS
from tests.support.api_keys import bearer, given_key

RATE = "{ rateLimit { limit remaining resetAt } }"
NAME = "{ __typename }"
CSV = b"S. No.,Product Name,Input Image Urls\n1,Chair,https://x.example/1.jpg\n"
AWAY = "unix:///nowhere/redis"


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)


def limited(settings: Settings, **rates: str) -> Settings:
    return settings.model_copy(update=rates)


async def ask(api: Api, headers: dict[str, str], query: str = NAME) -> httpx.Response:
    return await api.http.post("/graphql", json={"query": query}, headers=headers)


async def test_ten_at_once_of_which_five_may_be_are_five_over_all_processes(settings: Settings) -> None:
    few = limited(settings, rate_operations="5/minute")
    async with opened(few) as first, opened(few) as second:
        one, _ = given_key(first.runtime.db)
        other, _ = given_key(first.runtime.db)

        answers = await asyncio.gather(*(ask(api, bearer(one)) for api in (first, second) * 5))
        of_another = await ask(second, bearer(other), RATE)

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 5
    refused = next(answer for answer in answers if answer.status_code == 429)
    (error,) = refused.json()["errors"]
    seconds = error["extensions"]["retryAfter"]
    assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfter": seconds}
    assert error["message"] == f"Rate limit exceeded for operations. Retry in {seconds} s."
    assert refused.headers["retry-after"] == str(seconds)
    assert 50 < seconds <= 60
    left = of_another.json()["data"]["rateLimit"]
    # The question itself counts, once.
    assert (left["limit"], left["remaining"]) == (5, 4)


async def test_whoever_waits_as_told_is_served(settings: Settings) -> None:
    async with opened(limited(settings, rate_operations="1 per 1 second")) as api:
        key, _ = given_key(api.runtime.db)
        assert (await ask(api, bearer(key))).status_code == 200
        refused = await ask(api, bearer(key))
        assert refused.headers["retry-after"] == "1"
        await asyncio.sleep(1)
        assert (await ask(api, bearer(key))).status_code == 200


async def test_a_laptop_has_no_limits(settings: Settings) -> None:
    strict = limited(settings, rate_operations="1/day", rate_uploads="1/day").model_copy(
        update={"quota_open_requests": 1}
    )
    async with opened(strict, anonymous=AnonymousAccess.WHILE_NO_KEY) as api:
        for _ in range(3):
            assert (await api.upload(CSV, "__typename"))["__typename"] == "UploadCsvSuccess"
        assert await api.data(RATE) == {"rateLimit": None}


def test_callers_without_a_key_are_counted_by_their_address_which_only_trusted_proxies_tell(settings: Settings) -> None:
    async def story(trusted: str) -> list[int]:
        proxied = Settings(
            **(settings.model_dump() | {"rate_operations": "2/minute", "trusted_proxies": trusted}), _env_file=None
        )
        with redis.Redis.from_url(settings.redis_url) as client:
            client.flushall()
        async with opened(proxied, anonymous=AnonymousAccess.ALWAYS) as api:
            said = ["9.9.9.9, 2001:db8::1", "8.8.8.8, 2001:db8::2", "2001:db8::3", "203.0.113.7:4711"]
            return [(await ask(api, {"X-Forwarded-For": value})).status_code for value in said]

    # What stands before the address that the proxy saw is anybody's; a customer has as many IPv6 addresses as he likes.
    assert asyncio.run(story("127.0.0.0/8")) == [200, 200, 429, 200]
    assert asyncio.run(story("")) == [200, 200, 429, 429]


async def test_uploads_are_counted_before_their_bodies_are_read(settings: Settings) -> None:
    async with opened(limited(settings, rate_uploads="1/minute")) as api:
        key, _ = given_key(api.runtime.db)
        api.http.headers.update(bearer(key))
        assert (await api.upload(CSV, "__typename"))["__typename"] == "UploadCsvSuccess"
        sent = 0

        async def endless() -> Any:
            nonlocal sent
            while True:
                sent += 1
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
    assert sent <= 1
    assert total == {"requests": {"totalCount": 1}}


async def test_on_a_socket_an_operation_too_many_is_refused_and_the_socket_stays(settings: Settings) -> None:
    few = limited(settings, rate_operations="3/minute", rate_subscriptions="1/minute")
    async with served(few) as (host, app):
        key, _ = given_key(app.state.runtime.db)
        async with websockets.connect(f"ws://{host}/graphql", subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]

            async def said(message: dict[str, Any]) -> Any:
                await socket.send(json.dumps(message))
                return json.loads(await socket.recv())

            async def subscribe(number: str, query: str) -> Any:
                payload = {"query": query, "variables": {"id": "req_x"}}
                return await said({"id": number, "type": "subscribe", "payload": payload})

            await said({"type": "connection_init", "payload": bearer(key)})
            unknown = await subscribe("1", PROGRESS)
            assert unknown["payload"]["errors"][0]["extensions"]["code"] == "NOT_FOUND"
            assert json.loads(await socket.recv()) == {"id": "1", "type": "complete"}
            second = await subscribe("2", PROGRESS)
            third = await subscribe("3", NAME)
            assert json.loads(await socket.recv()) == {"id": "3", "type": "complete"}
            fourth = await subscribe("4", NAME)
            pong = await said({"type": "ping"})

        async with httpx.AsyncClient() as http:
            over_http = await http.post(f"http://{host}/graphql", json={"query": NAME}, headers=bearer(key))

    for answer, number, what in ((second, "2", "subscriptions"), (fourth, "4", "operations")):
        assert (answer["type"], answer["id"]) == ("error", number)
        assert answer["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert 50 < answer["payload"][0]["extensions"]["retryAfter"] <= 60
        assert answer["payload"][0]["message"].startswith(f"Rate limit exceeded for {what}.")
    assert third == {"id": "3", "type": "next", "payload": {"data": {"__typename": "Query"}}}
    assert pong == {"type": "pong"}
    assert over_http.status_code == 429


async def test_a_stream_that_is_one_too_many_is_refused_by_its_status(settings: Settings) -> None:
    async with opened(limited(settings, rate_subscriptions="1/minute")) as api:
        key, _ = given_key(api.runtime.db)
        asked = {"query": PROGRESS, "variables": {"id": "req_x"}}
        headers = bearer(key) | {"Accept": "text/event-stream"}
        first = await api.http.post("/graphql", json=asked, headers=headers)
        second = await api.http.post("/graphql", json=asked, headers=headers)
        query = await api.http.post("/graphql", json={"query": NAME}, headers=headers)

    assert (first.status_code, query.status_code) == (200, 200)
    assert error_of(second)[:2] == (429, "RATE_LIMITED")


def test_without_redis_reads_go_on_and_each_process_counts_uploads(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        alone = limited(settings, rate_operations="1/minute", rate_uploads="2/minute", redis_url=AWAY)
        async with opened(alone) as api:
            key, _ = given_key(api.runtime.db)
            began = time.monotonic()
            reads = [await ask(api, bearer(key)) for _ in range(20)]
            uploads = [await api.http.post("/graphql", headers=bearer(key), files={"0": b""}) for _ in range(3)]
            took_s = time.monotonic() - began
            rate = await ask(api, bearer(key), RATE)

        assert {read.status_code for read in reads} == {200}
        # Refused for what they are, but for the last.
        assert [upload.status_code for upload in uploads] == [400, 400, 429]
        assert rate.json()["data"] == {"rateLimit": None}
        assert took_s < 2

    with caplog.at_level(logging.WARNING, "gql_imgproc.messaging.rate_limiter"):
        asyncio.run(story())
    assert [record.message for record in caplog.records if record.name == "gql_imgproc.messaging.rate_limiter"] == [
        "rate limiter: Redis unavailable"
    ]


@pytest.mark.parametrize("away", [False, True])
async def test_whoever_tries_keys_is_not_listened_to_but_for_those_known_to_be_good(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    few = limited(settings, rate_failures="3/minute", **({"redis_url": AWAY} if away else {}))
    async with opened(few, anonymous=AnonymousAccess.NEVER) as api:
        known, _ = given_key(api.runtime.db)
        fresh, _ = given_key(api.runtime.db)
        assert (await ask(api, bearer(known))).status_code == 200
        wrong = [f"gip_{n:012}_{'x' * 40}" for n in range(4)]
        tried = [await ask(api, bearer(key)) for key in wrong]
        lookups = _count_lookups(monkeypatch)
        of_fresh = await ask(api, bearer(fresh))
        download = await api.http.get(
            f"/api/download/{encode_global_id(IdPrefix.REQUEST, new_id())}", headers=bearer(wrong[0])
        )
        refused_lookups = lookups()
        of_known = await ask(api, bearer(known))
        without = await ask(api, {})

    assert [answer.status_code for answer in tried] == [401, 401, 401, 429]
    assert error_of(tried[3])[1] == "RATE_LIMITED"
    assert "failed authentications" in error_of(tried[3])[2]
    # Not even a good one, which this process has not seen yet, is looked up.
    assert of_fresh.status_code == 429
    assert refused_lookups == 0
    assert (download.status_code, "retry-after" in download.headers) == (429, True)
    assert of_known.status_code == 200
    # No key was tried.
    assert without.status_code == 401


def _count_lookups(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    calls: list[object] = []
    find = key_repository.find_by_public_id

    def counted(*given: Any) -> Any:
        calls.append(given)
        return find(*given)

    monkeypatch.setattr(key_repository, "find_by_public_id", counted)
    return lambda: len(calls)
