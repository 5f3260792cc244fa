"""URLs of images that serve the best output that the client accepts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import httpx
import pytest

from gql_imgproc.access import signed_urls
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.imaging.options import Options, Output, OutputFormat
from gql_imgproc.requests.file_names import result_path
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.image_results import StoredOutput
from gql_imgproc.requests.repository.renditions import Rendition
from gql_imgproc.security.url_signature import sign_path
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, object_name, parse_image_path
from tests.graphql.client import Api, open_api
from tests.graphql.test_pagination import Statements
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.s3_server import S3
from tests.support.scenarios import claim_image, finished_image, given_request
from tests.web.test_files import in_bucket

OPTIONS = Options(outputs=(Output("jpg"), Output("webp", OutputFormat.WEBP), Output("avif", OutputFormat.AVIF)))
#: The bytes of each, of which AVIF has fewest.
FILES = {"jpg": b"a jpeg image", "webp": b"webp image", "avif": b"avif"}
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
SAFARI = "image/webp,image/avif,image/jxl,image/heic,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
OLD = "image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"


@dataclass
class Stored:
    """An image with three outputs."""

    renditions: list[Rendition]

    def path(self, of: int = 0, alternatives: Sequence[UUID] | None = None) -> str:
        """The URL path of an output, which can be served in place of the others."""
        own = self.renditions[of]
        others = [each.id for each in self.renditions if each is not own] if alternatives is None else alternatives
        return result_path(own.stored_by, own.object_name, "oak-{n}", 0, None, others)

    def key(self, of: int) -> str:
        return image_key(self.renditions[of].stored_by, self.renditions[of].object_name)


async def given_stored(api: Api, tenant_id: UUID = DEFAULT_TENANT, source: bytes = b"oak") -> Stored:
    request_id = given_request(api.runtime.db, 1, options=OPTIONS.to_json(), tenant_id=tenant_id)
    item = finished_image(claim_image(api.runtime.db, request_id), content=source)
    own = item.outputs[0].rendition
    renditions = [
        replace(
            own,
            id=(id := uuid4()),
            fingerprint=fingerprint,
            object_name=object_name(id, extension),
            output_bytes=len(data),
            format="image/jpeg" if extension == "jpg" else f"image/{extension}",
        )
        for fingerprint, (extension, data) in zip(item.image.fingerprints, FILES.items(), strict=True)
    ]
    outputs = [StoredOutput(each, is_new=True) for each in renditions]
    assert not api.runtime.db.write_now(results.record, [item.with_outputs(outputs)], []).lost
    stored = Stored(renditions)
    for number, data in enumerate(FILES.values()):
        await api.runtime.storage.put(stored.key(number), data, renditions[number].format)
    return stored


async def get(api: Api, path: str, accept: str | None, method: str = "GET", **headers: str) -> httpx.Response:
    # None: without the header, which the client would add.
    request = api.http.build_request(method, path, headers=headers)
    request.headers.pop("accept")
    if accept is not None:
        request.headers["Accept"] = accept
    return await api.http.send(request)


@pytest.mark.parametrize(
    ("accept", "extension"),
    [
        (CHROME, "avif"),
        (SAFARI, "avif"),
        (OLD, "jpg"),
        ("*/*", "jpg"),
        ("image/*", "jpg"),
        ("", "jpg"),
        (None, "jpg"),
        ("text/html", "jpg"),
        ("image/webp", "webp"),
        ("image/webp,*/*", "webp"),
        ("IMAGE/WEBP ;Q=0.9", "webp"),
        ("image/webp, image/avif;q=0.9", "webp"),
        ("image/webp;q=0.5, */*", "jpg"),
        ("image/avif;q=0, image/webp, image/*", "webp"),
        ("image/avif;q=0, image/webp;q=0, */*;q=0", "jpg"),
        ("image/jpeg;q=0, image/webp;q=0.1", "webp"),
        ("image/avif;q=oops, image/webp;q=7, image/*;q=0.1", "jpg"),
        ("image/jxl", "jpg"),
        (";;,=,/,image/,image/avif;q=1;q=0,\x7f", "avif"),
        ("image/avif," * 500, "avif"),
    ],
)
async def test_client_gets_the_smallest_file_of_the_formats_that_it_prefers(
    api: Api, accept: str | None, extension: str
) -> None:
    stored = await given_stored(api)

    got, head = [await get(api, stored.path(), accept, method) for method in ("GET", "HEAD")]

    assert (got.status_code, got.content) == (200, FILES[extension])
    assert got.headers["content-type"] == {"jpg": "image/jpeg"}.get(extension, f"image/{extension}")
    assert (got.headers["vary"], got.headers["cache-control"]) == ("Accept", "public, max-age=31536000, immutable")
    for name in ("vary", "etag", "content-type", "content-length", "cache-control"):
        assert head.headers[name] == got.headers[name]
    assert (head.status_code, head.content) == (200, b"")


async def test_two_accept_headers_are_one(api: Api) -> None:
    stored = await given_stored(api)

    headers = [("Accept", "text/html"), ("Accept", "image/webp")]

    assert (await api.http.get(stored.path(), headers=headers)).content == FILES["webp"]


async def test_each_output_can_be_negotiated(api: Api) -> None:
    # Given the URL of the WebP, when a client does not name it, then it gets it nevertheless unless it prefers others.
    stored = await given_stored(api)

    served = [(await get(api, stored.path(of=1), accept)).content for accept in ("*/*", "image/jpeg", "image/avif")]

    assert served == [FILES["webp"], FILES["jpg"], FILES["avif"]]


async def test_etag_is_that_of_the_chosen_file(api: Api) -> None:
    stored = await given_stored(api)
    etags = {name: (await get(api, stored.path(), f"image/{name}")).headers["etag"] for name in ("webp", "avif")}

    same = await get(api, stored.path(), "image/webp", **{"If-None-Match": etags["webp"]})
    other = await get(api, stored.path(), "image/webp", **{"If-None-Match": etags["avif"]})
    every = await get(api, stored.path(), CHROME, **{"If-None-Match": "*"})
    part = await get(api, stored.path(), "image/webp", Range="bytes=0-3")

    assert etags == {name: f'"{stored.renditions[at].id.hex}"' for at, name in ((1, "webp"), (2, "avif"))}
    assert (same.status_code, same.content, same.headers["vary"]) == (304, b"", "Accept")
    assert (every.status_code, every.headers["etag"]) == (304, etags["avif"])
    assert (other.status_code, other.content) == (200, FILES["webp"])
    # The service sends whole files.
    assert (part.status_code, part.content) == (200, FILES["webp"])


async def test_url_without_alternatives_serves_its_own_file_and_reads_no_table(api: Api) -> None:
    stored = await given_stored(api)

    with Statements(api) as executed:
        plain = await get(api, stored.path(alternatives=()), CHROME)
        wildcard = await get(api, stored.path(), "*/*")
        texts = list(executed.texts)
        chosen = await get(api, stored.path(), CHROME)

    assert (plain.content, "vary" in plain.headers) == (FILES["jpg"], False)
    assert (wildcard.content, texts) == (FILES["jpg"], [])
    assert (chosen.content, len(executed.texts)) == (FILES["avif"], 1)


async def test_next_best_file_is_served_if_one_is_deleted(api: Api) -> None:
    stored, served = await given_stored(api), []
    for deleted in (2, 1, 0):
        await api.runtime.storage.delete(stored.key(deleted))
        served.append(await get(api, stored.path(), CHROME))

    assert [(each.status_code, each.headers.get("vary")) for each in served] == [
        (200, "Accept"),
        (200, "Accept"),
        (404, None),
    ]
    assert [each.content for each in served[:2]] == [FILES["webp"], FILES["jpg"]]


async def test_file_whose_rendition_is_gone_is_served_while_it_exists(api: Api) -> None:
    # Given an object whose rendition was deleted before it,
    stored = await given_stored(api)
    own = stored.renditions[0]
    unknown = Stored([replace(own, id=(id := uuid4()), object_name=object_name(id, "jpg")), *stored.renditions[1:]])
    await api.runtime.storage.put(unknown.key(0), b"rest", "image/jpeg")

    assert (await get(api, unknown.path(), CHROME)).content == b"rest"


async def test_files_of_other_images_are_never_served(api: Api) -> None:
    # Given images of the same source of two tenants, and another image of the first one,
    stored, foreign = await given_stored(api), await given_stored(api, given_tenant(api.runtime.db, "other"))
    other = await given_stored(api, source=b"pine")

    for each in (foreign, other):
        assert (await get(api, each.path(), CHROME)).content == FILES["avif"]

    # when their renditions are put into the URL,
    ids = [foreign.renditions[2].id, other.renditions[2].id, new_id()]
    got = await get(api, stored.path(alternatives=ids), CHROME)

    # then they are no choice.
    assert got.content == FILES["jpg"]


async def test_own_file_is_served_while_the_database_is_unavailable(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = await given_stored(api)

    async def unavailable(*_: object) -> None:
        raise DatabaseUnavailable("restarting")

    monkeypatch.setattr(api.runtime.db, "read", unavailable)
    got = await get(api, stored.path(), CHROME)

    assert (got.status_code, got.content, got.headers["vary"]) == (200, FILES["jpg"], "Accept")


@pytest.mark.parametrize(
    "marker",
    [f"{'0' * 32}-", "0" * 31, "-".join(["0" * 32] * 10), f"{'0' * 32}/{'0' * 32}", "F" * 32, "x"],
    ids=["no rendition", "short", "ten", "two", "capitals", "name"],
)
async def test_malformed_list_of_alternatives_is_no_path_of_an_image(api: Api, marker: str) -> None:
    stored = await given_stored(api)
    start, _, name = stored.path(alternatives=()).rpartition("/")

    got = await get(api, f"{start}/{marker}/{name}", CHROME)

    assert (got.status_code, got.json()) == (404, {"error": "Image not found."})


async def test_readable_name_may_look_like_a_rendition(api: Api) -> None:
    stored = await given_stored(api)
    start = stored.path(alternatives=()).rpartition("/")[0]
    path = f"{start}/{stored.renditions[2].id.hex}"

    parsed, got = parse_image_path(path.removeprefix("/api/image/")), await get(api, path, CHROME)

    assert parsed is not None
    assert (parsed.alternatives, got.content, "vary" in got.headers) == ((), FILES["jpg"], False)


async def test_signature_is_that_of_the_path_and_permits_the_choice(settings: Settings) -> None:
    private = settings.model_copy(update={"private_images": True})
    async with open_api(private, anonymous=AnonymousAccess.NEVER) as api:
        # Given a private image, and signed URLs without alternatives and with one,
        stored = await given_stored(api)
        secret, until = api.runtime.db.read_now(signed_urls.read_secrets)[0], int(time.time()) + 60
        webp = [stored.renditions[1].id]
        plain, signed = (sign_path(stored.path(alternatives=each), until, secret) for each in ((), webp))
        key, _ = given_key(api.runtime.db)
        foreign, _ = given_key(api.runtime.db, given_tenant(api.runtime.db, "other"))

        # when they are requested, also with other alternatives than those that were signed,
        chosen = await get(api, signed, CHROME)
        widened = await get(api, stored.path() + signed[signed.index("?") :], CHROME)
        narrowed = await get(api, stored.path(alternatives=webp) + plain[plain.index("?") :], CHROME)

        # then only the signed ones are a choice.
        assert (chosen.status_code, chosen.content) == (200, FILES["webp"])
        assert chosen.headers["vary"] == "Accept"
        assert chosen.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert [each.status_code for each in (widened, narrowed)] == [403, 403]
        assert (await get(api, plain, CHROME)).content == FILES["jpg"]
        # A key of the tenant opens it too, and no other.
        own = await get(api, stored.path(), CHROME, **bearer(key))
        assert (own.content, own.headers["vary"]) == (FILES["avif"], "Accept, Authorization")
        assert (await get(api, stored.path(), CHROME, **bearer(foreign))).status_code == 404
        assert (await get(api, stored.path(), CHROME)).status_code == 401


async def test_bucket_serves_the_chosen_file(settings: Settings, s3: S3) -> None:
    async with open_api(in_bucket(settings, s3)) as api, httpx.AsyncClient() as browser:
        stored = await given_stored(api)

        redirects = [await get(api, stored.path(), accept) for accept in (CHROME, "image/webp", "*/*")]
        head = await get(api, stored.path(), CHROME, "HEAD")
        plain = await get(api, stored.path(alternatives=()), CHROME)
        urls = [each.headers["location"] for each in redirects]
        bodies = [(await browser.get(url)).content for url in urls]
        part = await browser.get(urls[1], headers={"Range": "bytes=0-3"})
        await api.runtime.storage.delete(stored.key(2))
        without_avif = await get(api, stored.path(), CHROME)

    assert [each.status_code for each in (*redirects, head, plain)] == [302] * 5
    assert [each.headers.get("vary") for each in (*redirects, head, plain)] == ["Accept"] * 4 + [None]
    assert bodies == [FILES["avif"], FILES["webp"], FILES["jpg"]]
    assert (part.status_code, part.content) == (206, b"webp")
    assert stored.key(2) in head.headers["location"]
    assert stored.key(1) in without_avif.headers["location"]
