"""The object store in a bucket of real S3 servers, which may fail."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gql_imgproc.errors import ConfigurationError, ObjectMissing, StorageError
from gql_imgproc.storage.cloud import PublicEndpoint, StoreTimeouts
from gql_imgproc.storage.object_store import PART_BYTES, ObjectHeaders, ObjectStore
from tests.support.fault_injection import Fault, Way, way_to
from tests.support.s3_server import S3, checking, s3rver

PICTURE = ObjectHeaders("image/jpeg", "public, max-age=31536000, immutable")
OUTPUT = ObjectHeaders(
    "text/csv; charset=utf-8", "no-cache", "attachment; filename=\"gr__e.csv\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.csv"
)
#: Two parts and a bit.
LARGE = bytes(range(256)) * (2 * PART_BYTES // 256) + b"the end"
#: A store that is silent is soon given up.
IMPATIENT = StoreTimeouts(connect_s=1, silence_s=1, call_s=5, retries=1)
ELSEWHERE = PublicEndpoint(("http://bucket.example",))


def run(story: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(story())  # type: ignore[arg-type]


def uploads_left(s3: S3) -> int:
    """Uploads in parts that were begun and neither completed nor given up."""
    return httpx.get(f"{s3.endpoint}/{s3.bucket}?uploads").text.count("<Upload>")


@pytest.fixture
def way(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    """A way to the bucket that this process uses, and that may fail."""
    with way_to(s3.endpoint) as way:
        s3.at(way.url).use(monkeypatch)
        yield way


@pytest.fixture(params=["moto", "s3rver"])
def either(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    if request.param == "moto":
        yield request.getfixturevalue("s3")
        return
    with s3rver(tmp_path) as server:
        server.use(monkeypatch)
        yield server


def test_a_bucket_below_a_prefix_keeps_gives_lists_and_forgets(either: S3) -> None:
    async def story() -> None:
        storage, other = ObjectStore(f"{either.url}/shop/one", ELSEWHERE), ObjectStore(f"{either.url}/shop/onem")
        await storage.check()
        await other.put_new("requests/1/x", b"other", PICTURE)
        await storage.put_new("requests/1/x.jpg", b"picture", PICTURE)
        await storage.put_file("requests/1/out.csv", io.BytesIO(b"S. No.\n"), OUTPUT)
        await storage.put_file("requests/2/large.csv", io.BytesIO(LARGE), OUTPUT)
        await storage.put_new("requests/10/x.jpg", b"", PICTURE)

        assert await storage.get("requests/1/x.jpg") == b"picture"
        assert await storage.get("requests/2/large.csv") == LARGE
        assert await storage.get("requests/10/x.jpg") == b""
        assert sorted(await storage.folders("requests/")) == ["1", "10", "2"]
        assert await storage.list_keys("requests/1/") == ["requests/1/out.csv", "requests/1/x.jpg"]
        assert await storage.open("requests/1/nothing") is None
        assert (await storage.exists("requests/1/x.jpg"), await storage.exists("requests/1/nothing")) == (True, False)

        async with httpx.AsyncClient() as browser:
            picture = await browser.get(await storage.sign("requests/1/x.jpg", "GET", 60) or "")
            looked = await browser.head(await storage.sign("requests/1/x.jpg", "HEAD", 60) or "")
            output = await browser.get(await storage.sign("requests/2/large.csv", "GET", 60) or "")
        assert (picture.status_code, picture.content) == (200, b"picture")
        assert picture.headers["content-type"] == "image/jpeg"
        assert picture.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "content-disposition" not in picture.headers
        assert (looked.status_code, looked.headers["content-length"]) == (200, "7")
        assert output.content == LARGE
        assert output.headers["content-type"] == "text/csv; charset=utf-8"
        assert output.headers["cache-control"] == "no-cache"
        assert output.headers["content-disposition"] == OUTPUT.disposition

        await storage.delete("requests/10/x.jpg")
        await storage.delete("requests/10/x.jpg")
        await storage.delete_all(["requests/1/x.jpg", "requests/1/nothing"])
        await storage.delete_prefix("requests/1/")
        assert await storage.list_keys("") == ["requests/2/large.csv"]
        assert await other.list_keys("") == ["requests/1/x"]

    run(story)


def test_thousands_of_objects_are_listed_and_removed_by_pages(
    s3: S3, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        s3.use(monkeypatch)
        storage = ObjectStore(s3.url)
        keys = [f"requests/{n % 3}/{n:04}" for n in range(1_001)]
        for start in range(0, len(keys), 100):
            await asyncio.gather(*(storage.put(key, b"", "image/gif") for key in keys[start : start + 100]))
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
        storage = ObjectStore(s3.url)

        assert [len(page) async for page in storage.pages("requests/")] == [1_000, 1]
        assert sorted(await storage.folders("requests/")) == ["0", "1", "2"]
        way.seen.clear()
        await storage.delete_prefix("requests/")

        assert [seen.split()[0] for seen in way.seen] == ["GET"] * 2 + ["POST"] * 2
        assert await storage.list_keys("requests/") == []

    run(story)


def test_what_is_stored_is_never_replaced(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        storage = ObjectStore(s3.url)
        await storage.put_new("a", b"first", PICTURE)
        await storage.put_new("a", b"first", PICTURE)
        for store in (
            storage.put_new("a", b"other", PICTURE),
            storage.put_file("a", io.BytesIO(b"other"), OUTPUT),
        ):
            with pytest.raises(StorageError, match="something else is there"):
                await store
        assert await storage.get("a") == b"first"

        # Some stores know no conditions.
        s3.use(monkeypatch, AWS_CONDITIONAL_PUT="disabled")
        unconditional = ObjectStore(s3.url)
        await unconditional.check()
        await unconditional.put_new("a", b"other", PICTURE)
        assert await unconditional.get("a") == b"other"

    run(story)


def test_an_answer_that_was_lost_is_made_good_by_asking_again(s3: S3, way: Way) -> None:
    async def story() -> None:
        storage = ObjectStore(s3.url, patience=IMPATIENT)
        way.fail(Fault.MUTE, "PUT")
        with pytest.raises(StorageError):
            await storage.put_new("a", b"picture", PICTURE)
        way.heal()

        await storage.put_new("a", b"picture", PICTURE)

        assert await storage.get("a") == b"picture"

    run(story)


@pytest.mark.parametrize("fault", list(Fault))
def test_every_call_to_a_store_that_fails_ends_and_says_so(s3: S3, way: Way, fault: Fault) -> None:
    causes = {
        Fault.BUSY: "it is busy or out of order",
        Fault.DENIED: "the key may not do this",
        Fault.CUT: "nothing answers where it should be",
        Fault.MUTE: "nothing answers where it should be",
        Fault.HANG: "it does not answer",
    }

    async def story() -> None:
        storage = ObjectStore(s3.url, ELSEWHERE, IMPATIENT)
        await storage.put_new("a", b"picture", PICTURE)
        way.fail(fault)

        calls: list[Awaitable[Any]] = [
            storage.put_new("b", b"picture", PICTURE),
            storage.put_file("b", io.BytesIO(LARGE), OUTPUT),
            storage.get("a"),
            storage.exists("a"),
            storage.list_keys(""),
            storage.folders(""),
            storage.delete("a"),
            storage.delete_all(["a"]),
        ]
        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*calls, return_exceptions=True)

        assert {type(outcome) for outcome in outcomes} == {StorageError}
        assert {str(outcome).partition(": ")[2] for outcome in outcomes} == {causes[fault] + "."}
        # Signing needs no store.
        assert await storage.sign("a", "GET", 60)

    run(story)


@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.CUT, Fault.HANG])
@pytest.mark.parametrize("where", ["a part", "the end"])
def test_a_large_file_that_fails_leaves_no_parts(s3: S3, way: Way, fault: Fault, where: str) -> None:
    def fails(method: str, target: str) -> Fault | None:
        hit = "partNumber=2" in target if where == "a part" else method == "POST" and "uploadId=" in target
        return fault if hit else None

    async def story() -> None:
        storage = ObjectStore(s3.url, patience=IMPATIENT)
        way.fault = fails

        with pytest.raises(StorageError):
            await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)

        assert way.suffered
        assert uploads_left(s3) == 0
        assert await storage.list_keys("") == []
        way.heal()
        again = ObjectStore(s3.url)
        await again.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
        assert await again.get("large.csv") == LARGE

    run(story)


def test_a_large_file_whose_caller_leaves_leaves_no_parts(s3: S3, way: Way) -> None:
    async def story() -> None:
        storage = ObjectStore(s3.url)
        way.fault = lambda _, target: Fault.HANG if "partNumber=2" in target else None
        leaving = asyncio.create_task(storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT))
        while not way.suffered:  # noqa: ASYNC110 - another thread tells
            await asyncio.sleep(0.01)
        assert uploads_left(s3) == 1

        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)

        assert uploads_left(s3) == 0

    run(story)


def test_a_bucket_that_is_missing_is_not_an_object_that_is_missing(s3: S3, way: Way) -> None:
    """It used to end requests for good: their CSV was thought to be gone."""

    async def story() -> None:
        storage = ObjectStore("s3://no-such-bucket")
        for call in (
            storage.open("a"),
            storage.get("a"),
            storage.download("a", io.BytesIO()),
            storage.put_new("a", b"", PICTURE),
            storage.put_file("a", io.BytesIO(LARGE), OUTPUT),
        ):
            with pytest.raises(StorageError, match="there is no such bucket") as raised:
                await call
            assert not isinstance(raised.value, ObjectMissing)

        # The end of an upload in parts whose answer is lost: the store says that there is no such upload any more.
        way.fault = lambda method, target: Fault.MUTE if method == "POST" and "uploadId=" in target else None
        with pytest.raises(StorageError) as raised:
            await ObjectStore(s3.url).put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
        assert not isinstance(raised.value, ObjectMissing)

    run(story)


def test_a_download_may_be_slow_as_long_as_it_goes_on(s3: S3) -> None:
    async def story() -> None:
        storage = ObjectStore(s3.url, patience=IMPATIENT)
        await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
        stored = await storage.open("large.csv")
        assert stored is not None

        read = b""
        async for chunk in stored.chunks:
            if not read:
                # Longer than the store itself may be silent.
                await asyncio.sleep(2 * IMPATIENT.silence_s)
            read += chunk

        assert read == LARGE

    run(story)


def test_a_store_is_spoken_to_in_the_clear_only_if_its_endpoint_says_so(
    s3: S3, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the environment allows."""
    s3.at(way.url.replace("http:", "https:")).use(monkeypatch, AWS_ALLOW_HTTP="true")
    assert "nothing answers" in refusal(s3.url)
    assert way.seen == []

    s3.at(way.url).use(monkeypatch, AWS_ALLOW_HTTP="false")
    run(ObjectStore(s3.url).check)
    assert [seen.split()[0] for seen in way.seen] == ["PUT", "GET", "GET", "POST"]


def refusal(url: str, outlet: PublicEndpoint | None = None) -> str:
    """What is said of a store that cannot be used."""
    with pytest.raises(ConfigurationError) as raised:
        run(lambda: ObjectStore(url, outlet, IMPATIENT).check())
    said = str(raised.value)
    assert said.startswith(f"The object store {url} cannot be used")
    return said.removeprefix(f"The object store {url} cannot be used")


def test_a_key_that_is_unknown_is_told_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3rver(tmp_path) as server:
        server.use(monkeypatch, AWS_ACCESS_KEY_ID="AKIAUNKNOWN")

        assert refusal(server.url) == (
            " (to write): it does not know the key, or the key has another secret. "
            "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
        assert list((tmp_path / "s3rver" / server.bucket).iterdir()) == []


@pytest.mark.parametrize(
    ("may", "cannot"),
    [
        (("GetObject", "ListBucket", "DeleteObject"), "write"),
        (("PutObject", "ListBucket", "DeleteObject"), "read"),
        (("PutObject", "GetObject", "DeleteObject"), "list"),
        (("PutObject", "GetObject", "ListBucket"), "remove"),
    ],
)
def test_a_key_that_may_not_do_everything_is_told_with_the_mend(
    s3: S3, monkeypatch: pytest.MonkeyPatch, may: tuple[str, ...], cannot: str
) -> None:
    with checking(s3, *(f"s3:{action}" for action in may)) as allowed:
        allowed.use(monkeypatch)

        said = refusal(s3.url)

    assert said == (
        f" (to {cannot}): the key may not do this. "
        "Let it read, write, list and remove objects, as docs/STORAGE.md shows"
    )


def test_the_key_of_the_document_suffices_and_its_signatures_are_right(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    document = (Path(__file__).parents[2] / "docs/STORAGE.md").read_text(encoding="utf-8")
    actions = sorted(set(re.findall(r'"(s3:[A-Za-z]+)"', document)))

    async def story() -> None:
        storage = ObjectStore(f"{s3.url}/prefix")
        await storage.check()
        await storage.put_file("large.csv", io.BytesIO(LARGE), OUTPUT)
        way.fault = lambda _, target: Fault.DENIED if "partNumber=2" in target else None
        with pytest.raises(StorageError):
            await storage.put_file("failed.csv", io.BytesIO(LARGE), OUTPUT)
        assert await storage.list_keys("") == ["large.csv"]
        await storage.delete_prefix("")

    assert actions == ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]
    with way_to(s3.endpoint) as way, checking(s3.at(way.url), *actions) as allowed:
        allowed.use(monkeypatch)
        run(story)
        allowed.use(monkeypatch, AWS_SECRET_ACCESS_KEY="another")
        said = refusal(s3.url)
    assert uploads_left(s3) == 0
    assert said.startswith(" (to write): it does not know the key, or the key has another secret.")


def test_a_store_that_is_not_there_is_told_with_the_mend(s3: S3, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(url: str = s3.url, **environment: str) -> str:
        s3.at(way.url).use(monkeypatch, **environment)
        return refusal(url)

    nobody = "http://127.0.0.1:1"
    assert told("s3://no-such-bucket") == (
        " (to write): there is no such bucket. Create it, or mend IMGPROC_STORAGE_URL"
    )
    assert told(AWS_ENDPOINT_URL=nobody) == (
        " (to write): nothing answers where it should be. Check that it runs, and AWS_ENDPOINT_URL"
    )
    assert told(AWS_ENDPOINT_URL=way.url.replace("http:", "https:")) == (
        " (to write): nothing answers where it should be. Check that it runs, and AWS_ENDPOINT_URL"
    )
    assert told(AWS_ENDPOINT_URL="minio:9000") == (
        ": AWS_ENDPOINT_URL is `minio:9000`: use an address such as `https://s3.example:9000`"
    )
    assert told(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_METADATA_ENDPOINT=nobody) == (
        " (to write): no key was given. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or give this machine a role that may use the bucket"
    )
    way.fail(Fault.HANG)
    assert told() == " (to write): it does not answer. Check that it runs, and AWS_ENDPOINT_URL"
