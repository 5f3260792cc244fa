"""Authorization of files by API key and by signed URL."""

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
from tests.graphql.client import Api, open_api
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, claim_image, finish, given_request, record, stored_names

KEY_REQUIRED = {"error": "An API key is required. Send it as `Authorization: Bearer gip_…`."}
URL_EXPIRED = {"error": "This link has expired. Request a new one from the API."}
NOT_FOUND = {"error": "Request not found. Check the ID; the request may have been deleted."}


async def given_end(api: Api, tenant_id: UUID = DEFAULT_TENANT) -> tuple[UUID, str]:
    """Creates a finished request with one image; returns its ID and the path of the image."""
    db, storage = api.runtime.db, api.runtime.storage
    request_id = given_request(db, 1, tenant_id=tenant_id)
    state = record(db, claim_image(db, request_id), DONE)
    assert finish(db, state.id, RequestStatus.COMPLETED) is not None
    await storage.put(output_key(request_id, "output-1.csv"), b"S. No.\r\n", "text/csv")
    (name,) = await db.read(stored_names, request_id)
    await storage.put(image_key(request_id, name), b"image", "image/jpeg")
    return request_id, f"/api/image/{request_id.hex}/{name}"


def status_and_json(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


async def test_download_requires_a_key_of_its_tenant(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        other = given_tenant(api.runtime.db, "other")
        request_id, _ = await given_end(api, other)
        path = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"
        own, _ = given_key(api.runtime.db, other, Scope.READ)
        foreign, _ = given_key(api.runtime.db)
        writer, _ = given_key(api.runtime.db, other, Scope.WRITE)

        assert status_and_json(await api.http.get(path)) == (401, KEY_REQUIRED)
        assert status_and_json(await api.http.get(path, headers=bearer(foreign))) == (404, NOT_FOUND)
        assert status_and_json(await api.http.get(path, headers=bearer(writer))) == (
            403,
            {"error": "This requires an API key with the scope READ."},
        )
        assert (await api.http.get(path, headers=bearer(own))).content == b"S. No.\r\n"


async def test_signed_url_opens_without_a_key_until_it_expires(settings: Settings) -> None:
    async with open_api(settings, anonymous=AnonymousAccess.NEVER) as api:
        request_id, _ = await given_end(api)
        key, _ = given_key(api.runtime.db, DEFAULT_TENANT, Scope.READ)
        global_id = encode_global_id(IdPrefix.REQUEST, request_id)
        query = f'{{ request(id: "{global_id}") {{ outputCsvUrl outputCsvExpiresAt }} }}'
        response = await api.http.post("/graphql", json={"query": query}, headers=bearer(key))
        fields = response.json()["data"]["request"]
        url = urlsplit(fields["outputCsvUrl"])
        path = f"{url.path}?{url.query}"
        without_key = await api.http.get(path)
        tampered = await api.http.get(path[:-1] + ("0" if path[-1] != "0" else "1"))
        other_request = await api.http.get(path.replace(url.path[-4:], "0000"))
        # After one rotation the URL is still valid; after two it is not.
        api.runtime.db.write_now(signed_urls.insert_secret, "1" * 64)
        once = await api.http.get(path)
        api.runtime.db.write_now(signed_urls.insert_secret, "2" * 64)
        twice = await api.http.get(path)
        expired = await api.http.get(sign_path(url.path, int(time.time()) - 1, "2" * 64))

    assert fields["outputCsvUrl"].startswith("https://images.example/api/download/req_")
    assert fields["outputCsvExpiresAt"] is not None
    assert without_key.content == once.content == b"S. No.\r\n"
    for rejected in (tampered, other_request, twice, expired):
        assert status_and_json(rejected) == (403, URL_EXPIRED)


@pytest.mark.parametrize("private", [False, True])
async def test_images_require_a_key_only_when_they_are_private(settings: Settings, private: bool) -> None:
    async with open_api(
        settings.model_copy(update={"private_images": private}), anonymous=AnonymousAccess.NEVER
    ) as api:
        _, path = await given_end(api)
        own, _ = given_key(api.runtime.db)
        foreign, _ = given_key(api.runtime.db, given_tenant(api.runtime.db, "other"))
        secret = api.runtime.db.read_now(signed_urls.read_secrets)[0]

        assert (await api.http.get(path)).status_code == (401 if private else 200)
        assert (await api.http.get(path, headers=bearer(foreign))).status_code == (404 if private else 200)
        assert (await api.http.get(path, headers=bearer(own))).content == b"image"
        assert (await api.http.get(sign_path(path, int(time.time()) + 60, secret))).content == b"image"
