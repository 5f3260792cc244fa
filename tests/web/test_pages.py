"""Pages, what the service says of itself, and the headers of every answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from gql_imgproc import __version__
from gql_imgproc.settings import Settings
from gql_imgproc.web import health, pages
from gql_imgproc.web.security_headers import content_security_policy
from tests.graphql.client import Api, opened, served

SUBSCRIPTION = 'subscription { requestProgress(id: "x") { id } }'
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built page, in small."""
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<title>page</title>")
    (static / "graphiql.html").write_text("<title>graphiql</title>")
    (static / "assets" / "index-abc.js").write_text("1")
    monkeypatch.setattr(pages, "STATIC", static)
    return static


async def test_page_and_graphiql_for_a_browser(built: Path, api: Api) -> None:
    page = await api.http.get("/", headers=BROWSER)
    graphiql = await api.http.get("/graphql", headers=BROWSER)
    query = await api.http.get("/graphql", headers=BROWSER, params={"query": "{ limits { maxPageSize } }"})
    script = await api.http.get("/static/assets/index-abc.js")
    missing = await api.http.get("/static/nothing.js")

    assert (page.status_code, page.text) == (200, "<title>page</title>")
    assert (graphiql.status_code, graphiql.text) == (200, "<title>graphiql</title>")
    assert query.json() == {"data": {"limits": {"maxPageSize": 100}}}
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert page.headers["cache-control"] == "no-cache"
    assert (missing.status_code, missing.json()) == (404, {"error": "There is nothing at this address."})


@pytest.mark.parametrize("introspection", ["auto", "off"])
def test_graphiql_is_there_only_where_it_is_switched_on(settings: Settings, built: Path, introspection: str) -> None:
    # `auto` is settled by the command that listens; one that did not settle it cannot know who may come.
    given = settings.model_copy(update={"introspection": introspection})

    async def story() -> list[httpx.Response]:
        async with opened(given, listening=False) as api:
            return [
                await api.http.get("/", headers=BROWSER),
                await api.http.get("/graphql", headers=BROWSER),
                await api.http.get("/graphql", headers=BROWSER, params={"query": "{ limits { maxPageSize } }"}),
            ]

    page, graphiql, query = asyncio.run(story())

    assert (page.status_code, page.text) == (200, "<title>page</title>")
    assert graphiql.status_code == 404
    assert "IMGPROC_INTROSPECTION=on" in graphiql.text
    assert query.json() == {"data": {"limits": {"maxPageSize": 100}}}


async def test_page_that_is_not_built_says_so(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "STATIC", tmp_path / "none")

    page = await api.http.get("/", headers=BROWSER)
    graphiql = await api.http.get("/graphql", headers=BROWSER)
    asset = await api.http.get("/static/x.js")

    assert page.text.startswith("The web page is not built.")
    assert graphiql.text == page.text
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert asset.status_code == 404


async def test_a_program_is_told_the_addresses(api: Api) -> None:
    got = await api.http.get("/", headers={"Accept": "application/json"})

    body = got.json()
    assert (body["name"], body["version"]) == ("gql_imgproc", __version__)
    assert body["addresses"]["graphql"] == "https://pictures.example/graphql"


async def test_every_answer_carries_the_headers(built: Path, api: Api) -> None:
    policy = content_security_policy()

    answers = [
        await api.http.get("/", headers=BROWSER),
        await api.http.get("/nothing"),
        await api.http.get("/healthz"),
        await api.http.post("/graphql", json={"query": "{ limits { maxPageSize } }"}),
        await api.http.post("/graphql", content=b"{"),
        await api.http.put("/graphql"),
        await api.http.post("/graphql", content=b" " * 2_000_000, headers={"Content-Type": "application/json"}),
        await api.http.post("/graphql", json={"query": SUBSCRIPTION}, headers={"Accept": "text/event-stream"}),
        await api.http.post("/healthz"),
        await api.http.get("/metrics"),
        await api.http.get("/readyz"),
        await api.http.get("/static/nothing"),
        await api.http.get("/api/download/nothing"),
    ]

    assert [answer.status_code for answer in answers] == [
        *(200, 404, 200, 200, 415),
        *(405, 413, 200, 405, 200, 200, 404, 404),
    ]
    assert answers[7].headers["content-type"].startswith("text/event-stream")

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == policy
        assert "server" not in answer.headers


def test_a_fault_of_ours_carries_them_too_and_tells_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: Any) -> None:
        raise RuntimeError("the password is swordfish")

    async def play() -> None:
        async with served(settings) as (address, _), httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{address}/healthz")

        assert answer.status_code == 500
        assert "swordfish" not in answer.text
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers

    monkeypatch.setattr(health, "alive", broken)
    asyncio.run(play())


def test_policy_lets_no_foreign_script_in() -> None:
    rules = dict(rule.split(" ", 1) for rule in content_security_policy(["https://bucket.example"]).split("; "))

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
