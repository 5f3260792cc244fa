"""What admins do and see: keys of their own tenant, and what was done in its name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
from tests.graphql.client import Api, opened
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, FAILED, claim_product, finish, given_request, record

KEY = "id publicId name scopes state createdAt expiresAt lastUsedAt revokedAt"
CREATE = f"""mutation($input: CreateApiKeyInput!) {{ createApiKey(input: $input) {{ __typename
  ... on CreateApiKeySuccess {{ secret apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
ROTATE = f"""mutation($input: RotateApiKeyInput!) {{ rotateApiKey(input: $input) {{ __typename
  ... on RotateApiKeySuccess {{ secret apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
REVOKE = f"""mutation($input: RevokeApiKeyInput!) {{ revokeApiKey(input: $input) {{ __typename
  ... on RevokeApiKeySuccess {{ apiKey {{ {KEY} }} }} ... on UserError {{ message path }} }} }}"""
EVENT = "id at action actor keyId subjectId address details { name value }"
LOG = f"""query($first: Int, $after: String, $action: AuditAction, $subject: ID) {{
  auditLog(first: $first, after: $after, action: $action, subjectId: $subject) {{
    totalCount pageInfo {{ hasNextPage endCursor }} edges {{ node {{ {EVENT} }} }} }} }}"""
VIEWER = "{ viewer { name tenant scopes expiresAt } }"
STANDING = """{ viewer { usage { openRequests pendingImages storedBytes }
  quotas { openRequests pendingImages storedBytes csvBytes } } }"""
REQUESTS = "{ requests { totalCount } }"

Story = Callable[[Api], Awaitable[None]]


@pytest.fixture
def run(settings: Settings) -> Callable[[Story], None]:
    """Plays a story against the application, which asks everybody for a key."""

    def run(story: Story) -> None:
        async def play() -> None:
            async with opened(settings, anonymous=AnonymousAccess.NEVER) as api:
                await story(api)

        asyncio.run(play())

    return run


async def ask(api: Api, key: str, query: str, **variables: Any) -> Any:
    """The data of an answer without errors."""
    answer = await api.http.post("/graphql", json={"query": query, "variables": variables}, headers=bearer(key))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "errors" not in body, body
    (data,) = body["data"].values()
    return data


async def status(api: Api, key: str) -> int:
    """That of an answer to somebody with this key."""
    return (await api.http.post("/graphql", json={"query": REQUESTS}, headers=bearer(key))).status_code


async def log(api: Api, key: str, **wanted: Any) -> list[Any]:
    return [edge["node"] for edge in (await ask(api, key, LOG, **wanted))["edges"]]


def outside(key_id: UUID) -> str:
    return encode_global_id(IdPrefix.API_KEY, key_id)


def test_an_admin_makes_keys_of_its_own_tenant_with_any_scope(run: Any) -> None:
    async def story(api: Api) -> None:
        shop = given_tenant(api.runtime.db, "shop")
        admin, _ = given_key(api.runtime.db, shop, Scope.ADMIN, name="boss")

        made = await ask(api, admin, CREATE, input={"name": "till"})
        wide = await ask(api, admin, CREATE, input={"name": "all", "scopes": ["ADMIN", "READ", "WRITE"]})

        key = made["apiKey"]
        assert made["secret"].startswith(f"gip_{key['publicId']}_")
        assert (key["name"], key["scopes"], key["state"]) == ("till", ["READ", "WRITE"], "USABLE")
        assert (key["expiresAt"], key["lastUsedAt"], key["revokedAt"]) == (None, None, None)
        assert wide["apiKey"]["scopes"] == ["READ", "WRITE", "ADMIN"]
        viewer = await ask(api, made["secret"], VIEWER)
        assert viewer == {"name": "till", "tenant": "shop", "scopes": ["READ", "WRITE"], "expiresAt": None}
        # Nothing of it can be read again.
        listed = await ask(api, admin, f"{{ apiKeys {{ totalCount edges {{ node {{ {KEY} }} }} }} }}")
        assert [edge["node"]["name"] for edge in listed["edges"]] == ["all", "till", "boss"]
        assert listed["totalCount"] == 3
        assert made["secret"] not in str(listed)

    run(story)


def test_a_key_without_the_scope_gets_none_of_it(run: Any) -> None:
    async def story(api: Api) -> None:
        user, own_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ, Scope.WRITE)
        asked = {
            "apiKeys": "{ apiKeys { totalCount } }",
            "auditLog": "{ auditLog { totalCount } }",
            "createApiKey": 'mutation { createApiKey(input: {name: "x"}) { __typename } }',
            "rotateApiKey": f'mutation {{ rotateApiKey(input: {{id: "{outside(own_id)}"}}) {{ __typename }} }}',
            "revokeApiKey": f'mutation {{ revokeApiKey(input: {{id: "{outside(own_id)}"}}) {{ __typename }} }}',
        }
        for field, query in asked.items():
            answer = await api.http.post("/graphql", json={"query": query}, headers=bearer(user))
            (error,) = answer.json()["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert error["message"] == f"`{field}` needs an API key with the scope ADMIN."
        node = 'query { node(id: "%s") { id } }'
        assert await ask(api, user, node % outside(own_id)) is None
        (key,) = api.runtime.db.read_now(key_repository.list_keys, None)
        assert key[1].state == "USABLE"

    run(story)


@pytest.mark.parametrize(
    ("given", "path"),
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
def test_a_key_that_cannot_be_is_refused_with_its_reason(run: Any, given: dict[str, Any], path: str) -> None:
    async def story(api: Api) -> None:
        admin, _ = given_key(api.runtime.db)

        refused = await ask(api, admin, CREATE, input=given)

        assert (refused["__typename"], refused["path"]) == ("ApiKeyInvalid", ["input", path])
        assert refused["message"].endswith(".")
        assert len(api.runtime.db.read_now(key_repository.list_keys, None)) == 1
        assert await log(api, admin) == []

    run(story)


def test_a_rotated_key_goes_on_for_a_while_and_is_rotated_once(run: Any) -> None:
    async def story(api: Api) -> None:
        admin, _ = given_key(api.runtime.db)
        ends = datetime.now(UTC) + timedelta(days=90)
        old, old_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ, name="till", expires_at=ends)
        id = outside(old_id)

        first, second = await asyncio.gather(
            *(ask(api, admin, ROTATE, input={"id": id, "overlapSeconds": 3600}) for _ in range(2))
        )

        made, late = sorted((first, second), key=lambda answer: answer["__typename"], reverse=True)
        assert (made["__typename"], late["__typename"]) == ("RotateApiKeySuccess", "ApiKeyInactive")
        assert late["message"] == "The API key is already ROTATED and cannot be rotated. Create a new key."
        key = made["apiKey"]
        assert (key["name"], key["scopes"], key["state"]) == ("till", ["READ"], "USABLE")
        assert abs(datetime.fromisoformat(key["expiresAt"]) - ends) < timedelta(minutes=1)
        # Both are good for the hour; the old one ends then, and not with its own day.
        assert [await status(api, old), await status(api, made["secret"])] == [200, 200]
        shown = await ask(api, admin, f'{{ node(id: "{id}") {{ ... on ApiKey {{ state expiresAt }} }} }}')
        assert shown["state"] == "ROTATED"
        left = datetime.fromisoformat(shown["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=55) < left < timedelta(minutes=61)
        # Without an overlap it ends at once; and none ends later than it would have.
        at_once = await ask(api, admin, ROTATE, input={"id": key["id"], "overlapSeconds": 0})
        assert await status(api, made["secret"]) == 401
        assert await status(api, at_once["secret"]) == 200
        _, brief_id = given_key(api.runtime.db, expires_at=datetime.now(UTC) + timedelta(minutes=5))
        await ask(api, admin, ROTATE, input={"id": outside(brief_id)})
        kept = await ask(api, admin, f'{{ node(id: "{outside(brief_id)}") {{ ... on ApiKey {{ expiresAt }} }} }}')
        assert datetime.fromisoformat(kept["expiresAt"]) < datetime.now(UTC) + timedelta(minutes=6)
        for seconds in (-1, 31 * 86_400):
            refused = await ask(api, admin, ROTATE, input={"id": at_once["apiKey"]["id"], "overlapSeconds": seconds})
            assert (refused["__typename"], refused["path"]) == ("ApiKeyInvalid", ["input", "overlapSeconds"])
        # One that was refused left no key behind.
        assert len(api.runtime.db.read_now(key_repository.list_keys, None)) == 6
        assert len(await log(api, admin, action="API_KEY_ROTATED")) == 3

    run(story)


def test_a_revocation_is_once_and_never_of_the_last_admin(run: Any) -> None:
    async def story(api: Api) -> None:
        admin, admin_id = given_key(api.runtime.db, name="boss")
        user, user_id = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ)

        gone = await ask(api, admin, REVOKE, input={"id": outside(user_id)})
        again = await ask(api, admin, REVOKE, input={"id": outside(user_id)})
        last = await ask(api, admin, REVOKE, input={"id": outside(admin_id)})
        successor = await ask(api, admin, ROTATE, input={"id": outside(admin_id)})
        still_last = await ask(api, admin, REVOKE, input={"id": successor["apiKey"]["id"]})
        over = await ask(api, successor["secret"], REVOKE, input={"id": outside(admin_id)})

        assert gone["apiKey"]["state"] == "REVOKED"
        assert gone == again
        assert await status(api, user) == 401
        assert (last["__typename"], last["path"]) == ("LastAdminKey", ["input", "id"])
        assert still_last["__typename"] == "LastAdminKey"
        assert over["apiKey"]["state"] == "REVOKED"
        assert await status(api, admin) == 401
        events = await log(api, successor["secret"], action="API_KEY_REVOKED")
        assert [event["subjectId"] for event in events] == [outside(admin_id), outside(user_id)]
        # Who has the database can make another one.
        caller = cli_caller(DEFAULT_TENANT, "me")
        (own,) = api.runtime.db.read_now(key_repository.lock_active_admin_keys, DEFAULT_TENANT)
        await key_service.revoke(api.runtime.db, caller, own)
        assert await status(api, successor["secret"]) == 401

    run(story)


def test_a_foreign_key_is_as_one_that_does_not_exist(run: Any) -> None:
    async def story(api: Api) -> None:
        shop = given_tenant(api.runtime.db, "shop")
        foreign, foreign_id = given_key(api.runtime.db, shop)
        admin, _ = given_key(api.runtime.db)
        await ask(api, foreign, CREATE, input={"name": "till"})
        (event,) = await log(api, foreign)

        for id in (outside(foreign_id), outside(new_id()), encode_global_id(IdPrefix.REQUEST, foreign_id), "", "\0"):
            for query in (ROTATE, REVOKE):
                refused = await ask(api, admin, query, input={"id": id})
                assert refused == {
                    "__typename": "ApiKeyNotFound",
                    "message": "API key not found. List the keys to find its ID.",
                    "path": ["input", "id"],
                }
            assert await ask(api, admin, "query($id: ID!) { node(id: $id) { id } }", id=id) is None
            assert await log(api, admin, subject=id) == []
        assert await ask(api, admin, "query($id: ID!) { node(id: $id) { id } }", id=event["id"]) is None
        assert await log(api, admin) == []
        listed = await ask(api, admin, "{ apiKeys { totalCount edges { node { name } } } }")
        assert listed == {"totalCount": 1, "edges": [{"node": {"name": "shop"}}]}
        assert await status(api, foreign) == 200

    run(story)


async def test_the_viewer_is_whoever_asks(settings: Settings) -> None:
    given = {"open_requests": 7, "pending_images": 0, "stored_bytes": 5_000, "csv_bytes": 300}
    settings = settings.model_copy(update={f"quota_{name}": value for name, value in given.items()})

    async with opened(settings, anonymous=AnonymousAccess.ALWAYS) as api:
        ends = datetime.now(UTC) + timedelta(days=1)
        admin, _ = given_key(
            api.runtime.db, DEFAULT_TENANT, Scope.ADMIN, name="boss", expires_at=ends.replace(microsecond=0)
        )
        assert await api.data(VIEWER) == {
            "viewer": {"name": "anonymous", "tenant": "default", "scopes": ["READ", "WRITE"], "expiresAt": None}
        }
        viewer = await ask(api, admin, VIEWER)
        assert viewer["scopes"] == ["ADMIN"]
        assert viewer["expiresAt"] == f"{ends:%Y-%m-%dT%H:%M:%S}.000Z"

        given_request(api.runtime.db, 2, 1)
        given_request(api.runtime.db, 1, tenant_id=given_tenant(api.runtime.db, "shop"))
        assert await ask(api, admin, STANDING) == {
            "usage": {"openRequests": 1, "pendingImages": 3, "storedBytes": 0},
            "quotas": {"openRequests": 7, "pendingImages": None, "storedBytes": 5_000, "csvBytes": 300},
        }


def test_the_log_tells_who_did_what_to_which_request(run: Any) -> None:
    async def story(api: Api) -> None:
        db = api.runtime.db
        admin, admin_id = given_key(db, name="boss")
        csv = b"S. No.,Product Name,Input Image Urls\n1,Lamp,https://x.example/1\n"
        api.http.headers.update(bearer(admin))
        sent = await api.upload(csv, "... on UploadCsvSuccess { request { id } }", idempotencyKey="once")
        await api.upload(csv, "... on UploadCsvSuccess { replayed }", idempotencyKey="once")
        await api.upload(b"nothing", "__typename")
        id = sent["request"]["id"]
        one = "mutation($id: ID!) { %s(input: {id: $id}) { __typename } }"
        for order in ("deleteRequest", "cancelRequest", "cancelRequest", "retryFailedImages", "resendWebhook"):
            await ask(api, admin, one % order, id=id)
        failed_id = given_request(db, 1, webhook_url="https://x.example/hook?key=secret")
        state = record(db, claim_product(db, failed_id), 0, FAILED)
        finish(db, state, RequestStatus.FAILED)
        failed = encode_global_id(IdPrefix.REQUEST, failed_id)
        for order in ("resendWebhook", "retryFailedImages"):
            await ask(api, admin, one % order, id=failed)
        await ask(api, admin, one % "deleteRequest", id=id)

        events = await log(api, admin)

        assert [(event["action"], event["subjectId"]) for event in events] == [
            ("REQUEST_DELETED", id),
            ("REQUEST_RETRIED", failed),
            ("WEBHOOK_RESENT", failed),
            ("REQUEST_CANCELLED", id),
            ("REQUEST_ACCEPTED", id),
        ]
        assert {(event["actor"], event["keyId"], event["address"]) for event in events} == {
            ("boss", outside(admin_id), "127.0.0.1")
        }
        assert events[-1]["details"] == [
            {"name": "file", "value": "shop.csv"},
            {"name": "products", "value": "1"},
            {"name": "images", "value": "1"},
        ]
        # The request is gone, and what was done to it is known.
        assert await ask(api, admin, "query($id: ID!) { request(id: $id) { id } }", id=id) is None
        assert [event["action"] for event in await log(api, admin, subject=id)] == [
            "REQUEST_DELETED",
            "REQUEST_CANCELLED",
            "REQUEST_ACCEPTED",
        ]
        assert await log(api, admin, subject=id, action="REQUEST_DELETED") == events[:1]
        # Page by page it is the same.
        first = await ask(api, admin, LOG, first=2)
        rest = await ask(api, admin, LOG, first=9, after=first["pageInfo"]["endCursor"])
        assert [edge["node"] for edge in first["edges"] + rest["edges"]] == events
        assert (first["totalCount"], first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (
            5,
            True,
            False,
        )

    run(story)


def test_the_log_tells_what_nobody_asked_for_over_the_network(run: Any) -> None:
    async def story(api: Api) -> None:
        db = api.runtime.db
        admin, _ = given_key(db)
        request_id = given_request(db, 1)
        with pytest.raises(RequestNotFinal):
            await commands.delete(api.runtime, system_caller(DEFAULT_TENANT, "retention"), request_id)
        finish(db, record(db, claim_product(db, request_id), 0, DONE), RequestStatus.COMPLETED)
        await commands.delete(api.runtime, system_caller(DEFAULT_TENANT, "retention"), request_id)
        await signed_urls.rotate(db, cli_caller(DEFAULT_TENANT, "me"))
        shop = await tenants.create(db, "me", "shop")
        in_shop, _ = given_key(db, shop)

        events = await log(api, admin)

        assert db.read_now(queries.get_request, DEFAULT_TENANT, request_id) is None
        assert [(event["action"], event["actor"], event["keyId"], event["address"]) for event in events] == [
            ("SIGNING_SECRET_ROTATED", "cli:me", None, None),
            ("REQUEST_DELETED", "retention", None, None),
        ]
        (made,) = await log(api, in_shop)
        assert (made["action"], made["details"]) == ("TENANT_CREATED", [{"name": "name", "value": "shop"}])

    run(story)
