"""Webhook endpoints over GraphQL: for admins, of their own tenant, with secrets that are shown once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.scopes import Scope
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api
from tests.graphql.test_admin import audit_log, execute
from tests.support.api_keys import bearer, given_key, given_tenant

ENDPOINT = "id url eventTypes enabled disabledAt disabledReason failingSince createdAt"
ERROR = "... on UserError { message path }"
CREATE = f"""mutation($input: CreateWebhookEndpointInput!) {{ createWebhookEndpoint(input: $input) {{ __typename
  ... on CreateWebhookEndpointSuccess {{ secret endpoint {{ {ENDPOINT} }} }} {ERROR} }} }}"""
ROTATE = f"""mutation($input: RotateWebhookSecretInput!) {{ rotateWebhookSecret(input: $input) {{ __typename
  ... on RotateWebhookSecretSuccess {{ secret endpoint {{ id }} }} {ERROR} }} }}"""
DISABLE = f"""mutation($input: WebhookEndpointInput!) {{ disableWebhookEndpoint(input: $input) {{ __typename
  ... on DisableWebhookEndpointSuccess {{ endpoint {{ {ENDPOINT} }} }} {ERROR} }} }}"""
ENABLE = f"""mutation($input: WebhookEndpointInput!) {{ enableWebhookEndpoint(input: $input) {{ __typename
  ... on EnableWebhookEndpointSuccess {{ endpoint {{ {ENDPOINT} }} }} {ERROR} }} }}"""
DELIVERY = "id eventType requestId occurredAt status attempts lastHttpStatus nextAttemptAt log { httpStatus error }"
TEST = f"""mutation($input: WebhookEndpointInput!) {{ testWebhookEndpoint(input: $input) {{ __typename
  ... on TestWebhookEndpointSuccess {{ delivery {{ {DELIVERY} }} }} {ERROR} }} }}"""
LIST = f"{{ webhookEndpoints {{ totalCount nodes {{ {ENDPOINT} }} }} }}"
LOG = f"""query($id: ID!) {{ webhookDeliveries(endpointId: $id, first: 1) {{
  totalCount pageInfo {{ hasNextPage }} nodes {{ {DELIVERY} }} }} }}"""
URL = "https://shop.example/hook"
COMPLETED = {"url": f"{URL}?token=hidden", "eventTypes": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of the application, which requires an API key and can store secrets."""
    with_key = Settings(**settings.model_dump() | {"secrets_key": Fernet.generate_key().decode()})
    async with open_api(with_key, anonymous=AnonymousAccess.NEVER) as client:
        yield client


async def test_admin_creates_rotates_disables_and_enables_an_endpoint(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)

    created = await execute(api, admin, CREATE, input=COMPLETED)
    endpoint = created["endpoint"]
    rotated = await execute(api, admin, ROTATE, input={"endpointId": endpoint["id"], "overlapSeconds": 60})
    own = await execute(api, admin, ROTATE, input={})
    disabled = await execute(api, admin, DISABLE, input={"id": endpoint["id"]})
    again = await execute(api, admin, DISABLE, input={"id": endpoint["id"]})
    enabled = await execute(api, admin, ENABLE, input={"id": endpoint["id"]})

    assert endpoint["url"] == f"{URL}?token=***"
    assert (endpoint["eventTypes"], endpoint["enabled"]) == (["REQUEST_COMPLETED", "REQUEST_FAILED"], True)
    assert (endpoint["disabledAt"], endpoint["disabledReason"], endpoint["failingSince"]) == (None, None, None)
    assert (rotated["endpoint"], own["endpoint"]) == ({"id": endpoint["id"]}, None)
    assert (disabled["endpoint"]["enabled"], disabled["endpoint"]["disabledReason"]) == (False, "CALLER")
    assert again == disabled
    assert enabled["endpoint"] == endpoint
    # Each secret is another one, and none can be read again.
    secrets = {created["secret"], rotated["secret"], own["secret"]}
    assert len(secrets) == 3
    assert all(secret.startswith("whsec_") and len(secret) == 50 for secret in secrets)
    listed = await execute(api, admin, LIST)
    assert listed == {"totalCount": 1, "nodes": [endpoint]}
    log = await audit_log(api, admin)
    assert not any(secret in str((listed, log)) for secret in secrets)
    assert [(event["action"], event["subjectId"]) for event in log] == [
        ("WEBHOOK_ENDPOINT_ENABLED", endpoint["id"]),
        ("WEBHOOK_ENDPOINT_DISABLED", endpoint["id"]),
        ("WEBHOOK_SECRET_ROTATED", None),
        ("WEBHOOK_SECRET_ROTATED", endpoint["id"]),
        ("WEBHOOK_ENDPOINT_CREATED", endpoint["id"]),
    ]
    node = await execute(
        api,
        admin,
        f"query($id: ID!) {{ node(id: $id) {{ ... on WebhookEndpoint {{ {ENDPOINT} }} }} }}",
        id=endpoint["id"],
    )
    assert node == endpoint


async def test_test_delivery_is_in_the_log(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)
    id = (await execute(api, admin, CREATE, input=COMPLETED))["endpoint"]["id"]

    first, second = [(await execute(api, admin, TEST, input={"id": id}))["delivery"] for _ in range(2)]
    log = await execute(api, admin, LOG, id=id)

    assert first["id"].startswith("msg_")
    assert (first["eventType"], first["requestId"], first["status"]) == ("WEBHOOK_TEST", None, "PENDING")
    assert (first["attempts"], first["lastHttpStatus"], first["log"]) == (0, None, [])
    assert log == {"totalCount": 2, "pageInfo": {"hasNextPage": True}, "nodes": [second]}
    await execute(api, admin, DISABLE, input={"id": id})
    refused = await execute(api, admin, TEST, input={"id": id})
    assert (refused["__typename"], refused["path"]) == ("WebhookEndpointDisabled", ["input", "id"])
    assert (await execute(api, admin, LOG, id="whe_nothing"))["totalCount"] == 0


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"url": "http://127.0.0.1/"}, "url", "127.0.0.1"),
        ({"url": "https://shop.example:22/"}, "url", "port"),
        ({"eventTypes": []}, "eventTypes", "Choose at least one type"),
    ],
)
async def test_invalid_endpoint_is_refused_with_its_field(
    api: Api, change: dict[str, Any], path: str, message: str
) -> None:
    admin, _ = given_key(api.runtime.db)

    result = await execute(api, admin, CREATE, input=COMPLETED | change)

    assert (result["__typename"], result["path"]) == ("WebhookEndpointInvalid", ["input", path])
    assert message in result["message"]
    assert (await execute(api, admin, LIST))["totalCount"] == 0


async def test_overlap_is_limited(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)

    result = await execute(api, admin, ROTATE, input={"overlapSeconds": 31 * 86_400})

    assert (result["__typename"], result["path"]) == ("WebhookEndpointInvalid", ["input", "overlapSeconds"])


async def test_unknown_endpoint_is_a_typed_error(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)

    for document in (DISABLE, ENABLE, TEST):
        result = await execute(api, admin, document, input={"id": "whe_nothing"})
        assert (result["__typename"], result["path"]) == ("WebhookEndpointNotFound", ["input", "id"])
    result = await execute(api, admin, ROTATE, input={"endpointId": "whe_nothing"})
    assert (result["__typename"], result["path"]) == ("WebhookEndpointNotFound", ["input", "endpointId"])


async def test_mutations_say_which_setting_is_missing(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        admin, _ = given_key(api.runtime.db)

        created = await execute(api, admin, CREATE, input=COMPLETED)
        rotated = await execute(api, admin, ROTATE, input={})

        for result in (created, rotated):
            assert result["__typename"] == "SecretsKeyMissing"
            assert "must set IMGPROC_SECRETS_KEY or IMGPROC_SECRETS_KEY_FILE" in result["message"]
        assert (await execute(api, admin, LIST))["totalCount"] == 0


async def test_other_scopes_and_tenants_see_nothing(api: Api) -> None:
    admin, _ = given_key(api.runtime.db)
    id = (await execute(api, admin, CREATE, input=COMPLETED))["endpoint"]["id"]
    other, _ = given_key(api.runtime.db, given_tenant(api.runtime.db, "other"))
    user, _ = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ, Scope.WRITE)

    assert (await execute(api, other, LIST))["totalCount"] == 0
    assert (await execute(api, other, LOG, id=id))["totalCount"] == 0
    assert (await execute(api, other, DISABLE, input={"id": id}))["__typename"] == "WebhookEndpointNotFound"
    assert await execute(api, user, "query($id: ID!) { node(id: $id) { id } }", id=id) is None
    documents = {CREATE: COMPLETED, ROTATE: {}, DISABLE: {"id": id}, ENABLE: {"id": id}, TEST: {"id": id}}
    for document, input in (*documents.items(), (LIST, None)):
        body = {"query": document, "variables": {"input": input}}
        (error,) = (await api.http.post("/graphql", json=body, headers=bearer(user))).json()["errors"]
        assert error["extensions"]["code"] == "FORBIDDEN"
    assert (await execute(api, admin, LIST))["nodes"][0]["enabled"] is True
