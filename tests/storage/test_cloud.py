"""The object store in buckets of real S3 servers that can fail, and of emulators of Azure and Google."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from gql_imgproc.errors import ConfigurationError, ObjectMissing, StorageError
from gql_imgproc.storage import object_store
from gql_imgproc.storage.cloud import StoreTimeouts
from gql_imgproc.storage.object_store import PART_BYTES, ObjectHeaders, ObjectStore
from gql_imgproc.storage.presigned_urls import PublicEndpoint
from gql_imgproc.storage.store_check import check_store
from tests.support.cloud_emulators import Bucket, azurite, fake_gcs
from tests.support.fault_injection import Fault, FaultyProxy, proxy_to
from tests.support.s3_server import BUCKET, S3, restricted_key, s3rver

IMAGE = ObjectHeaders("image/jpeg", "public, max-age=31536000, immutable")
OUTPUT = ObjectHeaders(
    "text/csv; charset=utf-8", "no-cache", "attachment; filename=\"gr__e.csv\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.csv"
)
#: Two parts and a few bytes.
LARGE = bytes(range(256)) * (2 * PART_BYTES // 256) + b"the end"
SHORT_TIMEOUTS = StoreTimeouts(connect_s=1, silence_s=1, call_s=5, retries=1)
PUBLIC_ENDPOINT = PublicEndpoint(("http://bucket.example",))


def unfinished_uploads(s3: S3) -> int:
    """The number of multipart uploads that were neither completed nor aborted."""
    return httpx.get(f"{s3.endpoint}/{s3.bucket}?uploads").text.count("<Upload>")


@pytest.fixture
def proxy(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy between this process and the bucket."""
    with proxy_to(s3.endpoint) as proxy:
        s3.through(proxy.url).configure(monkeypatch)
        yield proxy


@pytest.fixture(scope="module")
def s3rver_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3rver(tmp_path_factory.mktemp("s3rver")) as server:
        yield server


@pytest.fixture(scope="module")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with azurite(tmp_path_factory.mktemp("azurite")) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with fake_gcs(tmp_path_factory.mktemp("gcs")) as bucket:
        yield bucket


# Azurite has 370 packages to install.
AZURITE = pytest.param("azurite_server", marks=[pytest.mark.slow, pytest.mark.timeout(300)])


@pytest.fixture(params=["s3", "s3rver_server", "gcs_server", AZURITE])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3 | Bucket:
    server: S3 | Bucket = request.getfixturevalue(request.param)
    server.configure(monkeypatch)
    return server


# Objects below a prefix


@pytest.fixture
async def storage(server: S3 | Bucket) -> ObjectStore:
    """A store below a prefix, with images, a small and a large CSV."""
    storage = ObjectStore(f"{server.url}/shop/{uuid4().hex}", PUBLIC_ENDPOINT)
    await storage.put_new("requests/1/x.jpg", b"image", IMAGE)
    await storage.put_file("requests/1/out.csv", io.BytesIO(b"S. No.\n"), OUTPUT)
    if storage.scheme == "gs":
        await storage.put_new("requests/2/large.csv", LARGE, OUTPUT)
    else:
        await storage.put_file("requests/2/large.csv", io.BytesIO(LARGE), OUTPUT)
    await storage.put_new("requests/10/x.jpg", b"", IMAGE)
    return storage


async def test_objects_are_stored_read_and_listed(storage: ObjectStore) -> None:
    await check_store(storage)

    assert await storage.get("requests/1/x.jpg") == b"image"
    assert await storage.get("requests/2/large.csv") == LARGE
    assert await storage.get("requests/10/x.jpg") == b""
    assert sorted(await storage.list_folders("requests/")) == ["1", "10", "2"]
    assert await storage.list_keys("requests/1/") == ["requests/1/out.csv", "requests/1/x.jpg"]
    assert await storage.open("requests/1/missing") is None
    assert (await storage.exists("requests/1/x.jpg"), await storage.exists("requests/1/missing")) == (True, False)


async def test_presigned_urls_serve_objects_with_their_headers(storage: ObjectStore) -> None:
    async with httpx.AsyncClient() as browser:
        image = await browser.get(await storage.presign("requests/1/x.jpg", "GET", 60))
        head = await browser.head(await storage.presign("requests/1/x.jpg", "HEAD", 60))
        output = await browser.get(await storage.presign("requests/2/large.csv", "GET", 60))

    assert (image.status_code, image.content) == (200, b"image")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "content-disposition" not in image.headers
    assert head.status_code == 200
    # Azurite sends no length here.
    assert storage.scheme == "az" or head.headers["content-length"] == "5"
    assert output.content == LARGE
    assert output.headers["content-type"] == "text/csv; charset=utf-8"
    assert output.headers["cache-control"] == "no-cache"
    assert output.headers["content-disposition"] == OUTPUT.disposition


async def test_deletion_keeps_objects_outside_the_prefix(server: S3 | Bucket, storage: ObjectStore) -> None:
    other = ObjectStore(f"{storage.url}m")
    await other.put_new("requests/1/x", b"other", IMAGE)

    await storage.delete("requests/10/x.jpg")
    await storage.delete("requests/10/x.jpg")
    await storage.delete_all(["requests/1/x.jpg", "requests/1/missing"])
    await storage.delete_prefix("requests/1/")

    assert await storage.list_keys("") == ["requests/2/large.csv"]
    assert await other.list_keys("") == ["requests/1/x"]


@pytest.mark.parametrize("page_size", [10, pytest.param(1_000, marks=pytest.mark.slow)])
async def test_objects_are_listed_and_deleted_by_pages(
    s3: S3, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, page_size: int
) -> None:
    # Given one object more than a page. 1,000 is also the page size of S3.
    monkeypatch.setattr(object_store, "DELETE_CHUNK", page_size)
    s3.configure(monkeypatch)
    storage = ObjectStore(s3.url)
    keys = [f"requests/{n % 3}/{n:04}" for n in range(page_size + 1)]
    for start in range(0, len(keys), 100):
        await asyncio.gather(*(storage.put(key, b"", "image/gif") for key in keys[start : start + 100]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    storage = ObjectStore(s3.url)

    # When they are listed, then there are two pages.
    assert [len(page) async for page in storage.list_pages("requests/")] == [page_size, 1]
    assert sorted(await storage.list_folders("requests/")) == ["0", "1", "2"]

    # When they are deleted, then each page is one request.
    proxy.requests.clear()
    await storage.delete_prefix("requests/")
    lists = 2 if page_size == 1_000 else 1
    assert [request.split()[0] for request in proxy.requests] == ["GET"] * lists + ["POST"] * 2
    assert await storage.list_keys("requests/") == []


async def test_objects_are_never_replaced(server: S3 | Bucket) -> None:
    if server.url == f"s3://{BUCKET}":
        pytest.skip("s3rver ignores the condition")
    storage = ObjectStore(f"{server.url}/{uuid4().hex}")
    await storage.put_new("a", b"first", IMAGE)

    await storage.put_new("a", b"first", IMAGE)
    for call in (storage.put_new("a", b"other", IMAGE), storage.put_file("a", io.BytesIO(b"other"), OUTPUT)):
        with pytest.raises(StorageError, match="another object exists"):
            await call

    assert await storage.get("a") == b"first"


async def test_missing_bucket_is_reported_by_every_cloud(server: S3 | Bucket) -> None:
    storage = ObjectStore(server.url.replace(BUCKET, "no-such-bucket"))

    # fake-gcs-server does not say what it did not find.
    message = "not found" if storage.scheme == "gs" else "the bucket does not exist"
    with pytest.raises(StorageError, match=message):
        await storage.put_new("a", b"image", IMAGE)


async def test_conditional_puts_can_be_disabled(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.configure(monkeypatch, AWS_CONDITIONAL_PUT="disabled")
    storage = ObjectStore(s3.url)
    await storage.put_new("a", b"first", IMAGE)

    await check_store(storage)
    await storage.put_new("a", b"other", IMAGE)

    assert await storage.get("a") == b"other"


# Failures


async def test_put_can_be_repeated_after_a_lost_response(s3: S3, proxy: FaultyProxy) -> None:
    storage = ObjectStore(s3.url, timeouts=SHORT_TIMEOUTS)
    proxy.fail(Fault.LOST_RESPONSE, "PUT")
    with pytest.raises(StorageError):
        await storage.put_new("a", b"image", IMAGE)
    proxy.recover()

    await storage.put_new("a", b"image", IMAGE)

    assert await storage.get("a") == b"image"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (Fault.BUSY, "it is overloaded or failing"),
        (Fault.DENIED, "the credentials do not permit this"),
        (Fault.DISCONNECT, "it cannot be reached"),
        (Fault.LOST_RESPONSE, "it cannot be reached"),
        (Fault.HANG, "it does not respond"),
    ],
)
async def test_every_call_to_a_failing_store_ends_with_its_cause(
    s3: S3, proxy: FaultyProxy, fault: Fault, cause: str
) -> None:
    storage = ObjectStore(s3.url, PUBLIC_ENDPOINT, SHORT_TIMEOUTS)
    await storage.put_new("a", b"image", IMAGE)
    proxy.fail(fault)

    calls: list[Awaitable[Any]] = [
        storage.put_new("b", b"image", IMAGE),
        storage.put_file("b", io.BytesIO(LARGE), OUTPUT),
        storage.get("a"),
        storage.exists("a"),
        storage.list_keys(""),
        storage.list_folders(""),
        storage.delete("a"),
        storage.delete_all(["a"]),
    ]
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(error) for error in errors} == {StorageError}
    assert {str(error).partition(": ")[2] for error in errors} == {f"{cause}."}
    # Signing needs no call.
    assert await storage.presign_or_none("a", "GET", 60)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.DISCONNECT, Fault.HANG])
@pytest.mark.parametrize("where", ["a part", "the end"])
async def test_failed_multipart_upload_leaves_no_parts(s3: S3, proxy: FaultyProxy, fault: Fault, where: str) -> None:
    def fail(method: str, target: str) -> Fault | None:
        is_hit = "partNumber=2" in target if where == "a part" else method == "POST" and "uploadId=" in target
        return fault if is_hit else None

    storage = ObjectStore(s3.url, timeouts=SHORT_TIMEOUTS)
    proxy.fault = fail

    with pytest.raises(StorageError):
        await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)

    assert proxy.failed_requests
    assert unfinished_uploads(s3) == 0
    assert await storage.list_keys("") == []
    proxy.recover()
    storage = ObjectStore(s3.url)
    await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
    assert await storage.get("large.csv") == LARGE


async def test_cancelled_multipart_upload_leaves_no_parts(s3: S3, proxy: FaultyProxy) -> None:
    storage = ObjectStore(s3.url)
    proxy.fault = lambda _, target: Fault.HANG if "partNumber=2" in target else None
    upload = asyncio.create_task(storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT))
    while not proxy.failed_requests:  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0.01)
    assert unfinished_uploads(s3) == 1

    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)

    assert unfinished_uploads(s3) == 0


async def test_missing_bucket_is_not_reported_as_a_missing_object(s3: S3, proxy: FaultyProxy) -> None:
    """A missing object ends its request permanently; a missing bucket must not."""
    storage = ObjectStore("s3://no-such-bucket")
    for call in (
        storage.open("a"),
        storage.get("a"),
        storage.download("a", io.BytesIO()),
        storage.put_new("a", b"", IMAGE),
        storage.put_file("a", io.BytesIO(LARGE), OUTPUT),
    ):
        with pytest.raises(StorageError, match="the bucket does not exist") as raised:
            await call
        assert not isinstance(raised.value, ObjectMissing)


async def test_missing_multipart_upload_is_not_reported_as_a_missing_object(s3: S3, proxy: FaultyProxy) -> None:
    # Given that the response to the end of an upload is lost, so that its repetition finds no such upload.
    proxy.fault = lambda method, target: Fault.LOST_RESPONSE if method == "POST" and "uploadId=" in target else None

    with pytest.raises(StorageError) as raised:
        await ObjectStore(s3.url).put_file("large.csv", io.BytesIO(LARGE), OUTPUT)

    assert not isinstance(raised.value, ObjectMissing)


async def test_download_may_pause_longer_than_the_store(s3: S3) -> None:
    storage = ObjectStore(s3.url, timeouts=SHORT_TIMEOUTS)
    await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
    stored = await storage.open("large.csv")
    assert stored is not None

    data = b""
    async for chunk in stored.chunks:
        if not data:
            await asyncio.sleep(2 * SHORT_TIMEOUTS.silence_s)
        data += chunk

    assert data == LARGE


# Messages of the check


async def check_error(url: str, public_endpoint: PublicEndpoint | None = None) -> str:
    """Check a store that cannot be used, and return the rest of the message."""
    with pytest.raises(ConfigurationError) as raised:
        await check_store(ObjectStore(url, public_endpoint, SHORT_TIMEOUTS))
    message = str(raised.value)
    assert message.startswith(f"The object store {url} cannot be used")
    return message.removeprefix(f"The object store {url} cannot be used")


async def test_unencrypted_connection_needs_an_http_endpoint(
    s3: S3, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # AWS_ALLOW_HTTP has no effect.
    s3.through(proxy.url.replace("http:", "https:")).configure(monkeypatch, AWS_ALLOW_HTTP="true")
    assert "it cannot be reached" in await check_error(s3.url)
    assert proxy.requests == []

    s3.through(proxy.url).configure(monkeypatch, AWS_ALLOW_HTTP="false")
    await check_store(ObjectStore(s3.url))
    assert [request.split()[0] for request in proxy.requests] == ["PUT", "GET", "GET", "POST"]


async def test_unknown_access_key_is_reported_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3rver(tmp_path) as server:
        server.configure(monkeypatch, AWS_ACCESS_KEY_ID="AKIAUNKNOWN")

        message = await check_error(server.url)

        assert list((tmp_path / "s3rver" / server.bucket).iterdir()) == []
    assert message == (" (write failed): the credentials are wrong. Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize(
    ("allowed", "action"),
    [
        (("GetObject", "ListBucket", "DeleteObject"), "write"),
        (("PutObject", "ListBucket", "DeleteObject"), "read"),
        (("PutObject", "GetObject", "DeleteObject"), "list"),
        (("PutObject", "GetObject", "ListBucket"), "delete"),
    ],
)
async def test_missing_permission_is_reported_with_a_remedy(
    s3: S3, monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...], action: str
) -> None:
    with restricted_key(s3, *(f"s3:{permission}" for permission in allowed)) as restricted:
        restricted.configure(monkeypatch)

        message = await check_error(s3.url)

    assert message == (
        f" ({action} failed): the credentials do not permit this. "
        "Allow them to read, write, list and delete objects, as docs/STORAGE.md shows"
    )


async def test_documented_policy_suffices(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given credentials with the policy of the documentation.
    document = (Path(__file__).parents[2] / "docs/STORAGE.md").read_text(encoding="utf-8")
    actions = sorted(set(re.findall(r'"(s3:[A-Za-z]+)"', document)))
    assert actions == ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]

    with proxy_to(s3.endpoint) as proxy, restricted_key(s3.through(proxy.url), *actions) as restricted:
        restricted.configure(monkeypatch)
        storage = ObjectStore(f"{s3.url}/prefix")

        # When every kind of call is made, then all succeed, and a failed upload leaves nothing.
        await check_store(storage)
        await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
        proxy.fault = lambda _, target: Fault.DENIED if "partNumber=2" in target else None
        with pytest.raises(StorageError):
            await storage.put_file("failed.csv", io.BytesIO(LARGE), OUTPUT)
        assert await storage.list_keys("") == ["large.csv"]
        await storage.delete_prefix("")

        # With another secret, every call fails.
        restricted.configure(monkeypatch, AWS_SECRET_ACCESS_KEY="another")
        message = await check_error(s3.url)
    assert unfinished_uploads(s3) == 0
    assert message.startswith(" (write failed): the credentials are wrong.")


NOT_LISTENING = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        (
            "s3://no-such-bucket",
            {},
            " (write failed): the bucket does not exist. Create it, or correct IMGPROC_STORAGE_URL",
        ),
        (
            "",
            {"AWS_ENDPOINT_URL": NOT_LISTENING},
            " (write failed): it cannot be reached. Check that it is running, and check AWS_ENDPOINT_URL",
        ),
        (
            "",
            {"AWS_ENDPOINT_URL": "minio:9000"},
            ": AWS_ENDPOINT_URL is `minio:9000`: use a URL such as `https://s3.example:9000`",
        ),
        (
            "",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_METADATA_ENDPOINT": NOT_LISTENING},
            " (write failed): no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give this machine a role that may use the bucket",
        ),
    ],
    ids=["bucket", "endpoint", "endpoint without a scheme", "credentials"],
)
async def test_wrong_configuration_is_reported_with_a_remedy(
    s3: S3, monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], message: str
) -> None:
    s3.configure(monkeypatch, **environment)

    assert await check_error(url or s3.url) == message


async def test_tls_to_a_plain_http_port_is_reported_with_a_remedy(
    s3: S3, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url.replace("http:", "https:"))

    assert await check_error(s3.url) == (
        " (write failed): it cannot be reached. Check that it is running, and check AWS_ENDPOINT_URL"
    )


async def test_silent_store_is_reported_with_a_remedy(s3: S3, proxy: FaultyProxy) -> None:
    proxy.fail(Fault.HANG)

    assert await check_error(s3.url) == (
        " (write failed): it does not respond. Check that it is running, and check AWS_ENDPOINT_URL"
    )
