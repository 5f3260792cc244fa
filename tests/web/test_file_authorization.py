"""Files are for those who may see them: by their key, or by an address that was signed for them."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest

from gql_imgproc.access import signed_urls
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id
from gql_imgproc.security.scopes import Scope
from gql_imgproc.security.url_signature import sign_path
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, output_key
from tests.graphql.client import Api, opened
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, claim_product, finish, given_request, record

ASKED = {"error": "An API key is required. Send it as `Authorization: Bearer gip_…`."}
OVER = {"error": "This link has expired. Request a new one from the API."}
UNKNOWN = {"error": "Request not found. Check the ID; the request may have been deleted."}


async def given_end(api: Api, tenant_id: UUID = DEFAULT_TENANT) -> tuple[UUID, str]:
    """A request of the tenant with one picture that has ended: its identifier, and the path of its picture."""
    db, storage = api.runtime.db, api.runtime.storage
    request_id = given_request(db, 1, tenant_id=tenant_id)
    state = record(db, claim_product(db, request_id), 0, DONE)
    assert finish(db, state, RequestStatus.COMPLETED) is not None
    await storage.put(output_key(request_id, "output-1.csv"), b"S. No.\r\n", "text/csv")
    name = f"{request_id.hex}-1.jpg"
    await storage.put(image_key(request_id, name), b"picture", "image/jpeg")
    return request_id, f"/api/image/{request_id.hex}/{name}"


def told(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def test_a_download_is_for_the_key_of_its_tenant(settings: Settings) -> None:
    async with opened(settings, anonymous=AnonymousAccess.NEVER) as api:
        other = given_tenant(api.runtime.db, "other")
        request_id, _ = await given_end(api, other)
        path = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"
        own, _ = given_key(api.runtime.db, other, Scope.READ)
        foreign, _ = given_key(api.runtime.db)
        writer, _ = given_key(api.runtime.db, other, Scope.WRITE)

        assert told(await api.http.get(path)) == (401, ASKED)
        assert told(await api.http.get(path, headers=bearer(foreign))) == (404, UNKNOWN)
        assert told(await api.http.get(path, headers=bearer(writer))) == (
            403,
            {"error": "This requires an API key with the scope READ."},
        )
        assert (await api.http.get(path, headers=bearer(own))).content == b"S. No.\r\n"


async def test_the_address_that_the_api_hands_out_opens_by_itself_for_a_while(settings: Settings) -> None:
    async with opened(settings, anonymous=AnonymousAccess.NEVER) as api:
        request_id, _ = await given_end(api)
        key, _ = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ)
        global_id = encode_global_id(IdPrefix.REQUEST, request_id)
        query = f'{{ request(id: "{global_id}") {{ outputCsvUrl outputCsvExpiresAt }} }}'
        answer = await api.http.post("/graphql", json={"query": query}, headers=bearer(key))
        given = answer.json()["data"]["request"]
        address = urlsplit(given["outputCsvUrl"])
        path = f"{address.path}?{address.query}"
        opened_by_itself = await api.http.get(path)
        tampered = await api.http.get(path[:-1] + ("0" if path[-1] != "0" else "1"))
        for_another = await api.http.get(path.replace(address.path[-4:], "0000"))
        # Rotated once, it is still believed; rotated twice, it is not.
        api.runtime.db.write_now(signed_urls.insert_secret, "1" * 64)
        once = await api.http.get(path)
        api.runtime.db.write_now(signed_urls.insert_secret, "2" * 64)
        twice = await api.http.get(path)
        early = await api.http.get(sign_path(address.path, int(time.time()) - 1, "2" * 64))

    assert given["outputCsvUrl"].startswith("https://pictures.example/api/download/req_")
    assert given["outputCsvExpiresAt"] is not None
    assert opened_by_itself.content == once.content == b"S. No.\r\n"
    for refused in (tampered, for_another, twice, early):
        assert told(refused) == (403, OVER)


@pytest.mark.parametrize("private", [False, True])
async def test_pictures_are_for_who_knows_their_address_unless_they_are_private(
    settings: Settings, private: bool
) -> None:
    async with opened(settings.model_copy(update={"private_images": private}), anonymous=AnonymousAccess.NEVER) as api:
        _, path = await given_end(api)
        own, _ = given_key(api.runtime.db)
        foreign, _ = given_key(api.runtime.db, given_tenant(api.runtime.db, "other"))
        secret = api.runtime.db.read_now(signed_urls.read_secrets)[0]

        assert (await api.http.get(path)).status_code == (401 if private else 200)
        assert (await api.http.get(path, headers=bearer(foreign))).status_code == (404 if private else 200)
        assert (await api.http.get(path, headers=bearer(own))).content == b"picture"
        assert (await api.http.get(sign_path(path, int(time.time()) + 60, secret))).content == b"picture"
