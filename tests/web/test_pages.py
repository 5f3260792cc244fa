"""Pages, the JSON index, and the security headers of every response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from gql_imgproc import __version__
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.ids import new_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key
from gql_imgproc.web import health, pages
from gql_imgproc.web.security_headers import content_security_policy
from tests.graphql.client import Api, open_api, serve_api
from tests.support.api_keys import bearer, given_key

SUBSCRIPTION = 'subscription { requestProgress(id: "x") { id } }'
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small built page."""
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<title>page</title>")
    (static / "graphiql.html").write_text("<title>graphiql</title>")
    (static / "assets" / "index-abc.js").write_text("1")
    monkeypatch.setattr(pages, "STATIC", static)
    return static


async def test_browser_gets_the_page_and_graphiql(built: Path, api: Api) -> None:
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
    assert (missing.status_code, missing.json()) == (404, {"error": "Not found."})


@pytest.mark.parametrize("introspection", ["auto", "off"])
async def test_graphiql_requires_introspection(settings: Settings, built: Path, introspection: str) -> None:
    # The command that listens resolves `auto`. Without that, the server cannot know which clients can connect.
    unresolved = settings.model_copy(update={"introspection": introspection})

    async with open_api(unresolved, listening=False) as api:
        page = await api.http.get("/", headers=BROWSER)
        graphiql = await api.http.get("/graphql", headers=BROWSER)
        query = await api.http.get("/graphql", headers=BROWSER, params={"query": "{ limits { maxPageSize } }"})

    assert (page.status_code, page.text) == (200, "<title>page</title>")
    assert graphiql.status_code == 404
    assert "IMGPROC_INTROSPECTION=on" in graphiql.text
    assert query.json() == {"data": {"limits": {"maxPageSize": 100}}}


async def test_missing_build_is_reported(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "STATIC", tmp_path / "none")

    page = await api.http.get("/", headers=BROWSER)
    graphiql = await api.http.get("/graphql", headers=BROWSER)
    asset = await api.http.get("/static/x.js")

    assert page.text.startswith("The web page is not built.")
    assert graphiql.text == page.text
    assert page.headers["content-type"] == "text/plain; charset=utf-8"
    assert asset.status_code == 404


async def test_json_client_gets_the_routes(api: Api) -> None:
    body = (await api.http.get("/", headers={"Accept": "application/json"})).json()

    # The index has every route but the page itself, and the files below `/static`.
    paths = {route.path.replace(":path", "") for route in api.app.routes if isinstance(route, Route)} - {"/"}
    assert (body["name"], body["version"]) == ("gql_imgproc", __version__)
    assert set(body["urls"].values()) == {f"https://images.example{path}" for path in paths}
    assert body["urls"]["report"] == "https://images.example/api/report/{request_id}"
    assert body["urls"]["archive"] == "https://images.example/api/archive/{request_id}"


async def test_every_response_has_the_security_headers(built: Path, api: Api) -> None:
    policy = content_security_policy()

    responses = [
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

    assert [response.status_code for response in responses] == [
        *(200, 404, 200, 200, 415),
        *(405, 413, 200, 405, 200, 200, 404, 404),
    ]
    assert responses[7].headers["content-type"].startswith("text/event-stream")

    for response in responses:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["content-security-policy"] == policy
        assert "server" not in response.headers


async def test_internal_error_has_the_headers_and_no_details(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(request: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr(health, "report_liveness", broken)
    async with serve_api(settings) as (host_port, _), httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://{host_port}/healthz")

    assert response.status_code == 500
    assert "swordfish" not in response.text
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "server" not in response.headers
    assert response.headers["connection"] == "close"
    assert response.headers["cache-control"] == "no-store"


async def test_internal_error_of_the_graphql_endpoint_closes_the_connection(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    async with serve_api(settings) as (host_port, app), httpx.AsyncClient(trust_env=False) as client:
        url = f"http://{host_port}/graphql"
        good = await client.post(url, json={"query": "{ __typename }"})
        monkeypatch.setattr(app.state.app_state.rate_limiter, "hit", broken)
        failed = await client.post(url, json={"query": "{ __typename }"})

    assert (good.status_code, good.headers.get("connection")) == (200, None)
    assert (failed.status_code, failed.headers["connection"]) == (500, "close")


@pytest.mark.parametrize("path", ["/healthz/", "/graphql/", "/readyz/", "/metrics/", "/static"])
async def test_path_with_another_slash_is_not_redirected(api: Api, path: str) -> None:
    response = await api.http.get(path, headers={"Host": "evil.example"})

    assert (response.status_code, response.headers.get("location")) == (404, None)


async def test_responses_to_callers_with_a_key_are_not_stored(settings: Settings) -> None:
    query = {"query": "{ __typename }"}
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        key, _ = given_key(api.runtime.db)
        stream = {"Accept": "text/event-stream", **bearer(key)}
        name = f"{new_id().hex}-1.jpg"
        await api.runtime.storage.put(image_key(request_id := new_id(), name), b"image", "image/jpeg")

        private = [
            await api.http.post("/graphql", json=query, headers=bearer(key)),
            await api.http.get("/graphql", params=query, headers=bearer(key)),
            await api.http.post("/graphql", json={"query": "{"}, headers=bearer(key)),
            await api.http.post("/graphql", json={"query": SUBSCRIPTION}, headers=stream),
            await api.http.post("/graphql", json=query, headers=bearer("gip_unknown")),
            await api.http.get("/api/download/nothing", headers=bearer(key)),
        ]
        image = await api.http.get(f"/api/image/{request_id.hex}/{name}", headers=bearer(key))

    assert [response.status_code for response in private] == [200, 200, 200, 200, 401, 404]
    for response in private:
        assert "no-store" in response.headers["cache-control"]
        assert "Authorization" in response.headers["vary"]
    # A public image is the same for everyone.
    assert (image.status_code, image.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")


def test_content_security_policy_blocks_foreign_scripts() -> None:
    rules = dict(rule.split(" ", 1) for rule in content_security_policy(["https://bucket.example"]).split("; "))

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == rules["style-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
