"""Administration: API keys of the own tenant, its audit log, and the viewer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from gql_imgproc.access import api_keys as key_service
from gql_imgproc.access import key_repository, signed_urls, tenants
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import RequestNotFinal
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id, new_id
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import queries
from gql_imgproc.security.scopes import Scope, cli_caller, system_caller
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, FAILED, claim_image, finish, given_request, record

KEY = "id publicId name scopes state createdAt expiresAt lastUsedAt revokedAt"
CREATE = f"""mutation($input: CreateApiKeyInput!) {{ createApiKey(input: $input) {{ __typename
  ... on CreateApiKeySuccess {{ secret apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
ROTATE = f"""mutation($input: RotateApiKeyInput!) {{ rotateApiKey(input: $input) {{ __typename
  ... on RotateApiKeySuccess {{ secret apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
REVOKE = f"""mutation($input: RevokeApiKeyInput!) {{ revokeApiKey(input: $input) {{ __typename
  ... on RevokeApiKeySuccess {{ apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
EVENT = "id at action actor keyId subjectId ipAddress details { name value }"
LOG = f"""query($first: Int, $after: String, $action: AuditAction, $subject: ID) {{
  auditLog(first: $first, after: $after, action: $action, subjectId: $subject) {{
    totalCount pageInfo {{ hasNextPage endCursor }} edges {{ node {{ {EVENT} }} }} }} }}"""
VIEWER = "{ viewer { name tenant scopes expiresAt } }"
USAGE = """{ viewer { usage { openRequests pendingImages openRows storedBytes }
  quotas { openRequests pendingImages openRows storedBytes csvBytes } } }"""
REQUESTS = "{ requests { totalCount } }"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of the application, which requires an API key."""
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as client:
        yield client


async def execute(api: Api, key: str, query: str, **variables: Any) -> Any:
    """The data of the only root field, without errors."""
    response = await api.http.post("/graphql", json={"query": query, "variables": variables}, headers=bearer(key))
    assert response.status_code == 200, response.text
    body = response.json()
    assert "errors" not in body, body
    (data,) = body["data"].values()
    return data


async def http_status(api: Api, key: str) -> int:
    return (await api.http.post("/graphql", json={"query": REQUESTS}, headers=bearer(key))).status_code


async def audit_log(api: Api, key: str, **filters: Any) -> list[Any]:
    return [edge["node"] for edge in (await execute(api, key, LOG, **filters))["edges"]]


def global_id(key_id: UUID) -> str:
    return encode_global_id(IdPrefix.API_KEY, key_id)


async def test_admin_creates_keys_for_its_tenant_with_any_scope(api: Api) -> None:
    shop = given_tenant(api.runtime.db, "shop")
    admin, _ = given_key(api.runtime.db, shop, Scope.ADMIN, name="boss")

    created = await execute(api, admin, CREATE, input={"name": "till"})
    with_all_scopes = await execute(api, admin, CREATE, input={"name": "all", "scopes": ["ADMIN", "READ", "WRITE"]})

    key = created["apiKey"]
    assert created["secret"].startswith(f"gip_{key['publicId']}_")
    assert (key["name"], key["scopes"], key["state"]) == ("till", ["READ", "WRITE"], "USABLE")
    assert (key["expiresAt"], key["lastUsedAt"], key["revokedAt"]) == (None, None, None)
    assert with_all_scopes["apiKey"]["scopes"] == ["READ", "WRITE", "ADMIN"]
    viewer = await execute(api, created["secret"], VIEWER)
    assert viewer == {"name": "till", "tenant": "shop", "scopes": ["READ", "WRITE"], "expiresAt": None}
    # The secret cannot be read again.
    listed = await execute(api, admin, f"{{ apiKeys {{ totalCount edges {{ node {{ {KEY} }} }} }} }}")
    assert [edge["node"]["name"] for edge in listed["edges"]] == ["all", "till", "boss"]
    assert listed["totalCount"] == 3
    assert created["secret"] not in str(listed)


async def test_admin_fields_require_the_scope_admin(api: Api) -> None:
    user, own_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ, Scope.WRITE)
    queries_by_field = {
        "apiKeys": "{ apiKeys { totalCount } }",
        "auditLog": "{ auditLog { totalCount } }",
        "createApiKey": 'mutation { createApiKey(input: {name: "x"}) { __typename } }',
        "rotateApiKey": f'mutation {{ rotateApiKey(input: {{id: "{global_id(own_id)}"}}) {{ __typename }} }}',
        "revokeApiKey": f'mutation {{ revokeApiKey(input: {{id: "{global_id(own_id)}"}}) {{ __typename }} }}',
    }
    for field, query in queries_by_field.items():
        response = await api.http.post("/graphql", json={"query": query}, headers=bearer(user))
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
        assert error["message"] == f"`{field}` requires an API key with the scope ADMIN."
    node = 'query { node(id: "%s") { id } }'
    assert await execute(api, user, node % global_id(own_id)) is None
    (key,) = api.runtime.db.read_now(key_repository.list_keys, None)
    assert key[1].state == "USABLE"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ({"name": ""}, "name"),
        ({"name": " x"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\u200bb"}, "name"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"name": "x", "expiresAt": "9999-12-31T23:59:59-12:00"}, "expiresAt"),
    ],
)
async def test_invalid_key_input_is_refused_with_its_field(api: Api, key: dict[str, Any], path: str) -> None:
    admin, _ = given_key(api.runtime.db)

    result = await execute(api, admin, CREATE, input=key)

    assert (result["__typename"], result["path"]) == ("ApiKeyInvalid", ["input", path])
    assert result["message"].endswith(".")
    assert len(api.runtime.db.read_now(key_repository.list_keys, None)) == 1
    assert await audit_log(api, admin) == []


async def test_rotated_key_stays_valid_for_the_overlap_and_rotates_once(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)
    ends = datetime.now(UTC) + timedelta(days=90)
    old, old_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ, name="till", expires_at=ends)
    id = global_id(old_id)

    first, second = await asyncio.gather(
        *(execute(api, admin, ROTATE, input={"id": id, "overlapSeconds": 3600}) for _ in range(2))
    )

    issued, inactive = sorted((first, second), key=lambda result: result["__typename"], reverse=True)
    assert (issued["__typename"], inactive["__typename"]) == ("RotateApiKeySuccess", "ApiKeyInactive")
    assert inactive["message"] == "The API key is already ROTATED and cannot be rotated. Create a new key."
    key = issued["apiKey"]
    assert (key["name"], key["scopes"], key["state"]) == ("till", ["READ"], "USABLE")
    assert abs(datetime.fromisoformat(key["expiresAt"]) - ends) < timedelta(minutes=1)
    # Both are valid for the hour; then the old key expires, before its own expiry.
    assert [await http_status(api, old), await http_status(api, issued["secret"])] == [200, 200]
    old_key = await execute(api, admin, f'{{ node(id: "{id}") {{ ... on ApiKey {{ state expiresAt }} }} }}')
    assert old_key["state"] == "ROTATED"
    remaining = datetime.fromisoformat(old_key["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=55) < remaining < timedelta(minutes=61)
    # Without an overlap the old key expires at once. No key expires later than before its rotation.
    without_overlap = await execute(api, admin, ROTATE, input={"id": key["id"], "overlapSeconds": 0})
    assert await http_status(api, issued["secret"]) == 401
    assert await http_status(api, without_overlap["secret"]) == 200
    _, short_id = given_key(api.runtime.db, expires_at=datetime.now(UTC) + timedelta(minutes=5))
    await execute(api, admin, ROTATE, input={"id": global_id(short_id)})
    short_key = await execute(
        api, admin, f'{{ node(id: "{global_id(short_id)}") {{ ... on ApiKey {{ expiresAt }} }} }}'
    )
    assert datetime.fromisoformat(short_key["expiresAt"]) < datetime.now(UTC) + timedelta(minutes=6)
    for seconds in (-1, 31 * 86_400):
        result = await execute(
            api, admin, ROTATE, input={"id": without_overlap["apiKey"]["id"], "overlapSeconds": seconds}
        )
        assert (result["__typename"], result["path"]) == ("ApiKeyInvalid", ["input", "overlapSeconds"])
    # Refused rotations created no key.
    assert len(api.runtime.db.read_now(key_repository.list_keys, None)) == 6
    assert len(await audit_log(api, admin, action="API_KEY_ROTATED")) == 3


async def test_revocation_is_idempotent_and_keeps_the_last_admin_key(api: Api) -> None:
    admin, admin_id = given_key(api.runtime.db, name="boss")
    user, user_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ)

    revoked = await execute(api, admin, REVOKE, input={"id": global_id(user_id)})
    again = await execute(api, admin, REVOKE, input={"id": global_id(user_id)})
    last = await execute(api, admin, REVOKE, input={"id": global_id(admin_id)})
    successor = await execute(api, admin, ROTATE, input={"id": global_id(admin_id)})
    still_last = await execute(api, admin, REVOKE, input={"id": successor["apiKey"]["id"]})
    replaced = await execute(api, successor["secret"], REVOKE, input={"id": global_id(admin_id)})

    assert revoked["apiKey"]["state"] == "REVOKED"
    assert revoked == again
    assert await http_status(api, user) == 401
    assert (last["__typename"], last["path"]) == ("LastAdminKey", ["input", "id"])
    assert still_last["__typename"] == "LastAdminKey"
    assert replaced["apiKey"]["state"] == "REVOKED"
    assert await http_status(api, admin) == 401
    events = await audit_log(api, successor["secret"], action="API_KEY_REVOKED")
    assert [event["subjectId"] for event in events] == [global_id(admin_id), global_id(user_id)]
    # The command line can revoke the last one: it can create another.
    caller = cli_caller(DEFAULT_TENANT, "me")
    (last_id,) = api.runtime.db.read_now(key_repository.lock_active_admin_keys, DEFAULT_TENANT)
    await key_service.revoke(api.runtime.db, caller, last_id)
    assert await http_status(api, successor["secret"]) == 401


async def test_key_of_another_tenant_looks_like_an_unknown_one(api: Api) -> None:
    shop = given_tenant(api.runtime.db, "shop")
    foreign, foreign_id = given_key(api.runtime.db, shop)
    admin, _ = given_key(api.runtime.db)
    await execute(api, foreign, CREATE, input={"name": "till"})
    (event,) = await audit_log(api, foreign)

    for id in (
        global_id(foreign_id),
        global_id(new_id()),
        encode_global_id(IdPrefix.REQUEST, foreign_id),
        "",
        "\0",
    ):
        for query in (ROTATE, REVOKE):
            result = await execute(api, admin, query, input={"id": id})
            assert result == {
                "__typename": "ApiKeyNotFound",
                "message": "API key not found. List the keys to find its ID.",
                "path": ["input", "id"],
            }
        assert await execute(api, admin, "query($id: ID!) { node(id: $id) { id } }", id=id) is None
        assert await audit_log(api, admin, subject=id) == []
    assert await execute(api, admin, "query($id: ID!) { node(id: $id) { id } }", id=event["id"]) is None
    assert await audit_log(api, admin) == []
    listed = await execute(api, admin, "{ apiKeys { totalCount edges { node { name } } } }")
    assert listed == {"totalCount": 1, "edges": [{"node": {"name": "shop"}}]}
    assert await http_status(api, foreign) == 200


async def test_viewer_shows_the_caller_and_its_tenant(settings: Settings) -> None:
    quotas = {"open_requests": 7, "pending_images": 0, "open_rows": 50, "stored_bytes": 5_000, "csv_bytes": 300}
    settings = settings.model_copy(update={f"quota_{name}": value for name, value in quotas.items()})

    async with open_api(settings, anonymous=AnonymousAccess.ALWAYS) as api:
        ends = datetime.now(UTC) + timedelta(days=1)
        admin, _ = given_key(
            api.runtime.db, DEFAULT_TENANT, Scope.ADMIN, name="boss", expires_at=ends.replace(microsecond=0)
        )
        assert await api.data(VIEWER) == {
            "viewer": {"name": "anonymous", "tenant": "default", "scopes": ["READ", "WRITE"], "expiresAt": None}
        }
        viewer = await execute(api, admin, VIEWER)
        assert viewer["scopes"] == ["ADMIN"]
        assert viewer["expiresAt"] == f"{ends:%Y-%m-%dT%H:%M:%S}.000Z"

        given_request(api.runtime.db, 2, 1)
        given_request(api.runtime.db, 1, tenant_id=given_tenant(api.runtime.db, "shop"))
        assert await execute(api, admin, USAGE) == {
            "usage": {"openRequests": 1, "pendingImages": 3, "openRows": 2, "storedBytes": 0},
            "quotas": {
                "openRequests": 7,
                "pendingImages": None,
                "openRows": 50,
                "storedBytes": 5_000,
                "csvBytes": 300,
            },
        }


async def given_events(api: Api, admin: str) -> tuple[str, str]:
    """Accepts, cancels and deletes one request, retries another; refused mutations add no event. Returns their IDs."""
    db = api.runtime.db
    csv = b"S. No.,Product Name,Input Image Urls\n1,Lamp,https://x.example/1\n"
    api.http.headers.update(bearer(admin))
    uploaded = await api.upload(csv, "... on UploadCsvSuccess { request { id } }", idempotencyKey="once")
    await api.upload(csv, "... on UploadCsvSuccess { replayed }", idempotencyKey="once")
    await api.upload(b"nothing", "__typename")
    id = uploaded["request"]["id"]
    mutation = "mutation($id: ID!) { %s(input: {id: $id}) { __typename } }"
    for name in ("deleteRequest", "cancelRequest", "cancelRequest", "retryFailedImages", "resendWebhook"):
        await execute(api, admin, mutation % name, id=id)
    failed_id = given_request(db, 1, webhook_url="https://x.example/hook?key=secret")
    state = record(db, claim_image(db, failed_id), FAILED)
    finish(db, state.id, RequestStatus.FAILED)
    failed = encode_global_id(IdPrefix.REQUEST, failed_id)
    for name in ("resendWebhook", "retryFailedImages"):
        await execute(api, admin, mutation % name, id=failed)
    await execute(api, admin, mutation % "deleteRequest", id=id)
    return id, failed


async def test_audit_log_has_actor_action_and_subject(api: Api) -> None:
    admin, admin_id = given_key(api.runtime.db, name="boss")
    id, failed = await given_events(api, admin)

    events = await audit_log(api, admin)

    assert [(event["action"], event["subjectId"]) for event in events] == [
        ("REQUEST_DELETED", id),
        ("REQUEST_RETRIED", failed),
        ("WEBHOOK_RESENT", failed),
        ("REQUEST_CANCELLED", id),
        ("REQUEST_ACCEPTED", id),
    ]
    assert {(event["actor"], event["keyId"], event["ipAddress"]) for event in events} == {
        ("boss", global_id(admin_id), "127.0.0.1")
    }
    assert events[-1]["details"] == [
        {"name": "file", "value": "shop.csv"},
        {"name": "products", "value": "1"},
        {"name": "images", "value": "1"},
    ]


async def test_audit_log_is_filtered_and_paged(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)
    id, _ = await given_events(api, admin)

    events = await audit_log(api, admin)

    # The request is deleted, but its events remain.
    assert await execute(api, admin, "query($id: ID!) { request(id: $id) { id } }", id=id) is None
    assert [event["action"] for event in await audit_log(api, admin, subject=id)] == [
        "REQUEST_DELETED",
        "REQUEST_CANCELLED",
        "REQUEST_ACCEPTED",
    ]
    assert await audit_log(api, admin, subject=id, action="REQUEST_DELETED") == events[:1]
    # The pages together are the whole log.
    first = await execute(api, admin, LOG, first=2)
    rest = await execute(api, admin, LOG, first=9, after=first["pageInfo"]["endCursor"])
    assert [edge["node"] for edge in first["edges"] + rest["edges"]] == events
    assert (first["totalCount"], first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (
        5,
        True,
        False,
    )


async def test_audit_log_has_actions_of_the_service_and_the_command_line(api: Api) -> None:
    db = api.runtime.db
    admin, _ = given_key(db)
    request_id = given_request(db, 1)
    with pytest.raises(RequestNotFinal):
        await commands.delete(api.runtime, system_caller(DEFAULT_TENANT, "retention"), request_id)
    record(db, claim_image(db, request_id), DONE)
    finish(db, request_id, RequestStatus.COMPLETED)
    await commands.delete(api.runtime, system_caller(DEFAULT_TENANT, "retention"), request_id)
    await signed_urls.rotate(db, cli_caller(DEFAULT_TENANT, "me"))
    shop = await tenants.create(db, "me", "shop")
    shop_admin, _ = given_key(db, shop)

    events = await audit_log(api, admin)

    assert db.read_now(queries.get_request, DEFAULT_TENANT, request_id) is None
    assert [(event["action"], event["actor"], event["keyId"], event["ipAddress"]) for event in events] == [
        ("SIGNING_SECRET_ROTATED", "cli:me", None, None),
        ("REQUEST_DELETED", "retention", None, None),
    ]
    (created,) = await audit_log(api, shop_admin)
    assert (created["action"], created["details"]) == ("TENANT_CREATED", [{"name": "name", "value": "shop"}])
