"""Published clients for browsers and Node."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.acceptance.conftest import Service
from tests.conformance import reports
from tests.conformance.conftest import FOLDER, Shop

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

#: What each client in the folder `clients` supports. Without uploads, the scenario sends them with `fetch`.
ALL = {"query", "invalid", "typedError", "progress", "unknownRequest"}
CLIENTS = {
    "apollo": ALL,
    "apollo_ws": ALL,
    "urql": ALL,
    "urql_ws": ALL,
    "graphql_ws": ALL,
    "graphql_sse": ALL,
    "graphql_request": {"query", "invalid", "typedError"},
    "event_source": {"progress", "unknownRequest"},
}


def test_every_audit_of_graphql_over_http_passes(node: Any, service: Service) -> None:
    audits = node("graphql_http_audits.mjs", f"{service.url}/graphql")

    failed = [" ".join(str(part) for part in audit.values()) for audit in audits if audit["status"] != "ok"]
    assert failed == []
    assert Counter(audit["name"].split()[0] for audit in audits) == {"MUST": 13, "SHOULD": 23, "MAY": 25}
    assert len({audit["id"] for audit in audits}) == 61


@pytest.mark.parametrize("client", CLIENTS)
def test_client(node: Any, service: Service, shop: Shop, client: str) -> None:
    received = node("scenario.mjs", client, f"{service.url}/graphql", shop.csv, shop.release_url)

    expected = {
        "query": reports.QUERY,
        "invalid": reports.INVALID_QUERY,
        "typedError": reports.TYPED_ERROR,
        "unknownRequest": reports.UNKNOWN_REQUEST,
    }
    assert {name: received.get(name) for name in expected} == {
        name: value if name in CLIENTS[client] else None for name, value in expected.items()
    }
    reports.assert_upload_accepted(received["upload"])
    if "progress" in CLIENTS[client]:
        reports.assert_progress_complete(received["progress"])


def test_every_client_is_tested() -> None:
    assert sorted(path.stem for path in (FOLDER / "clients").glob("*.mjs")) == sorted(CLIENTS)


def test_lock_file_names_no_registry() -> None:
    lock = (FOLDER / "package-lock.json").read_text()

    assert '"resolved"' not in lock
    assert '"integrity"' in lock
