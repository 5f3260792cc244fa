"""How browsers get at the objects of a bucket, and where the clouds' addresses point; no cloud is asked."""

from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.storage.cloud import PublicEndpoint, resolve_public_endpoint
from gql_imgproc.storage.object_store import ObjectStore
from tests.support.s3_server import S3

HTTPS, HTTP = "https://shop.example", "http://127.0.0.1:8000"
AMAZON = PublicEndpoint(("https://s3.us-east-1.amazonaws.com", "https://b.s3.us-east-1.amazonaws.com"))


def at(*origins: str) -> PublicEndpoint:
    return PublicEndpoint(origins)


@pytest.mark.parametrize(
    ("url", "redirects", "public_url", "environment", "expected"),
    [
        ("file:///objects", "on", HTTPS, {}, None),
        ("s3://b/p", "auto", HTTPS, {}, AMAZON),
        ("s3://b/p", "auto", HTTPS, {"AWS_ENDPOINT_URL": ""}, AMAZON),
        ("s3://b/p", "off", HTTPS, {}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://s3.example/base"}, at("https://s3.example")),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT": "https://s3.example:9000"}, at("https://s3.example:9000")),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://9.9.9.9:9000"}, at("https://9.9.9.9:9000")),
        # Not to be reached from outside, or not as safely as we are.
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://minio:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://minio.shop.svc.cluster.local"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://10.0.0.7:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://[::1]:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "http://s3.example"}, None),
        ("s3://b", "auto", HTTP, {"AWS_ENDPOINT_URL": "http://s3.example"}, at("http://s3.example")),
        ("s3://b", "on", HTTPS, {"AWS_ENDPOINT_URL": "http://minio:9000"}, at("http://minio:9000")),
        ("gs://b", "auto", HTTPS, {}, at("https://storage.googleapis.com")),
        ("az://c", "auto", HTTPS, {}, at("https://*.blob.core.windows.net")),
        # A variable of another cloud says nothing.
        ("gs://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "http://minio"}, at("https://storage.googleapis.com")),
    ],
)
def test_browsers_are_sent_where_they_can_be(
    url: str, redirects: str, public_url: str, environment: dict[str, str], expected: PublicEndpoint | None
) -> None:
    assert resolve_public_endpoint(url, redirects, "", public_url, environment) == expected  # type: ignore[arg-type]


def test_a_public_endpoint_is_for_browsers_unless_they_are_to_come_to_us() -> None:
    inside = {"AWS_ENDPOINT_URL": "http://minio:9000"}

    assert resolve_public_endpoint("s3://b", "auto", "https://s3.example", HTTPS, inside) == PublicEndpoint(
        ("https://s3.example",), "https://s3.example"
    )
    assert resolve_public_endpoint("s3://b", "off", "https://s3.example", HTTPS, inside) is None


def google_account() -> str:
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {"client_email": "imgproc@shop.example", "private_key": key.decode(), "private_key_id": "1", "type": "service"}
    )


AMAZON_KEY = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": ""}
AZURE_KEY = {
    "AZURE_STORAGE_ACCOUNT_NAME": "shop",
    "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(bytes(32)).decode(),
}


@pytest.mark.parametrize(
    ("url", "public_endpoint", "environment", "address"),
    [
        ("s3://b/p", "", {"AWS_REGION": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com/b/p/a%20b.jpg?X-Amz-"),
        ("s3://b/p", "", {"AWS_REGION": ""}, "https://s3.us-east-1.amazonaws.com/b/p/a%20b.jpg?X-Amz-"),
        (
            "s3://b/p",
            "",
            {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true", "AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-2"},
            "https://b.s3.eu-west-2.amazonaws.com/p/a%20b.jpg?X-Amz-",
        ),
        (
            "s3://b/p",
            "",
            {"AWS_ENDPOINT_URL": "https://s3.example:9000"},
            "https://s3.example:9000/b/p/a%20b.jpg?X-Amz-",
        ),
        (
            "s3://b/p",
            "https://pictures.example",
            {"AWS_ENDPOINT_URL": "http://minio:9000"},
            "https://pictures.example/b/p/a%20b.jpg?X-Amz-",
        ),
        (
            "gs://b/p",
            "",
            {"GOOGLE_SERVICE_ACCOUNT_KEY": google_account()},
            "https://storage.googleapis.com/b/p/a%20b.jpg?X-Goog-",
        ),
        ("az://c/p", "", AZURE_KEY, "https://shop.blob.core.windows.net/c/p/a%20b.jpg?"),
        (
            "az://c/p",
            "",
            AZURE_KEY | {"AZURE_STORAGE_ENDPOINT": "https://az.example/shop"},
            "https://az.example/shop/c/p/a%20b.jpg?",
        ),
    ],
    ids=["region", "no region", "virtual hosts", "endpoint", "public endpoint", "google", "azure", "azure endpoint"],
)
def test_a_signed_address_is_at_an_origin_that_the_page_lets_in(
    monkeypatch: pytest.MonkeyPatch, url: str, public_endpoint: str, environment: dict[str, str], address: str
) -> None:
    S3("").use(monkeypatch, **(AMAZON_KEY | environment))
    found = resolve_public_endpoint(url, "auto", public_endpoint, HTTPS)
    assert found is not None

    signed = asyncio.run(ObjectStore(url, found).sign("a b.jpg", "GET", 60))

    assert signed is not None
    assert signed.startswith(address)
    assert any(signed.startswith(f"{origin}/") for origin in found.origins)


@pytest.mark.parametrize(
    ("url", "environment", "told"),
    [
        ("az://c/p", {}, "no key was given. Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give"),
        ("gs://b/p", {"GOOGLE_SERVICE_ACCOUNT_KEY": "{"}, "Unable to decode service account file"),
        ("s3://b", {"AWS_S3_EXPRESS": "maybe"}, 'failed to parse "maybe" as boolean'),
    ],
)
def test_what_the_environment_says_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], told: str
) -> None:
    S3("").use(monkeypatch, **(AMAZON_KEY | environment))

    with pytest.raises(ConfigurationError, match="cannot be used") as raised:
        asyncio.run(ObjectStore(url).check())

    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_cannot_sign_has_its_objects_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    S3("").use(monkeypatch, **(AZURE_KEY | {"AZURE_STORAGE_ACCOUNT_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"}))

    assert asyncio.run(ObjectStore("az://c/p", at("https://shop.example")).sign("a", "GET", 60)) is None


def test_a_public_endpoint_that_would_not_be_signed_for_is_refused(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch, AWS_ENDPOINT_URL_S3=s3.endpoint)

    with pytest.raises(ConfigurationError, match="Set AWS_ENDPOINT_URL in place of it"):
        asyncio.run(ObjectStore(s3.url, PublicEndpoint(("https://s3.example",), "https://s3.example")).check())


@pytest.mark.parametrize("public_endpoint", ["", "https://pictures.example:9000"])
def test_amazons_own_library_signs_the_same(monkeypatch: pytest.MonkeyPatch, public_endpoint: str) -> None:
    """moto does not check signed addresses."""
    S3("").use(monkeypatch, **(AMAZON_KEY | {"AWS_REGION": "eu-west-1"}))
    storage = ObjectStore("s3://b/p", resolve_public_endpoint("s3://b/p", "auto", public_endpoint, HTTPS))

    signed = asyncio.run(storage.sign("requests/größe 1.jpg", "GET", 300))

    assert signed is not None
    unsigned, _, signature = signed.partition("&X-Amz-Signature=")
    request = AWSRequest("GET", unsigned)
    request.context["timestamp"] = parse_qs(urlsplit(signed).query)["X-Amz-Date"][0]
    judge = S3SigV4QueryAuth(Credentials("key", "secret"), "s3", "eu-west-1", expires=300)
    assert judge.signature(judge.string_to_sign(request, judge.canonical_request(request)), request) == signature
