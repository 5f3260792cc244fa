"""The clients that people have in browsers and on node."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.acceptance.conftest import Service
from tests.conformance import reports
from tests.conformance.conftest import FOLDER, Shop

pytestmark = pytest.mark.acceptance

#: What each client of the folder `clients` does itself; uploads that one has not are sent by `fetch`.
ALL = {"query", "wrong", "refused", "progress", "stray"}
CLIENTS = {
    "apollo": ALL,
    "apollo_ws": ALL,
    "urql": ALL,
    "urql_ws": ALL,
    "graphql_ws": ALL,
    "graphql_sse": ALL,
    "graphql_request": {"query", "wrong", "refused"},
    "event_source": {"progress", "stray"},
}


def test_every_audit_of_graphql_over_http_passes(node: Any, service: Service) -> None:
    audits = node("audits.mjs", f"{service.url}/graphql")

    failed = [" ".join(str(part) for part in audit.values()) for audit in audits if audit["status"] != "ok"]
    assert failed == []
    assert Counter(audit["name"].split()[0] for audit in audits) == {"MUST": 13, "SHOULD": 23, "MAY": 25}
    assert len({audit["id"] for audit in audits}) == 61


@pytest.mark.parametrize("client", CLIENTS)
def test_client(node: Any, service: Service, shop: Shop, client: str) -> None:
    heard = node("story.mjs", client, f"{service.url}/graphql", shop.csv, shop.go)

    expected = {"query": reports.QUERY, "wrong": reports.WRONG, "refused": reports.REFUSED, "stray": reports.STRAY}
    assert {name: heard.get(name) for name in expected} == {
        name: value if name in CLIENTS[client] else None for name, value in expected.items()
    }
    reports.assert_accepted(heard["upload"])
    if "progress" in CLIENTS[client]:
        reports.assert_watched(heard["progress"])


def test_no_client_is_left_out() -> None:
    assert sorted(path.stem for path in (FOLDER / "clients").glob("*.mjs")) == sorted(CLIENTS)


def test_the_lock_names_no_registry() -> None:
    lock = (FOLDER / "package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
