"""Public endpoints and presigned URLs. No cloud is called."""

from __future__ import annotations

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
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.presigned_urls import PublicEndpoint, resolve_public_endpoint
from gql_imgproc.storage.store_check import check_store
from tests.support.s3_server import S3

HTTPS, HTTP = "https://shop.example", "http://127.0.0.1:8000"
AMAZON = PublicEndpoint(("https://s3.us-east-1.amazonaws.com", "https://b.s3.us-east-1.amazonaws.com"))


def endpoint_at(*origins: str) -> PublicEndpoint:
    return PublicEndpoint(origins)


@pytest.mark.parametrize(
    ("url", "redirects", "public_url", "environment", "expected"),
    [
        ("file:///objects", "on", HTTPS, {}, None),
        ("s3://b/p", "auto", HTTPS, {}, AMAZON),
        ("s3://b/p", "auto", HTTPS, {"AWS_ENDPOINT_URL": ""}, AMAZON),
        ("s3://b/p", "off", HTTPS, {}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://s3.example/base"}, endpoint_at("https://s3.example")),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT": "https://s3.example:9000"}, endpoint_at("https://s3.example:9000")),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://9.9.9.9:9000"}, endpoint_at("https://9.9.9.9:9000")),
        # Not reachable from outside, or less secure than the service itself.
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://minio:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://minio.shop.svc.cluster.local"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://10.0.0.7:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "https://[::1]:9000"}, None),
        ("s3://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "http://s3.example"}, None),
        ("s3://b", "auto", HTTP, {"AWS_ENDPOINT_URL": "http://s3.example"}, endpoint_at("http://s3.example")),
        ("s3://b", "on", HTTPS, {"AWS_ENDPOINT_URL": "http://minio:9000"}, endpoint_at("http://minio:9000")),
        ("gs://b", "auto", HTTPS, {}, endpoint_at("https://storage.googleapis.com")),
        ("az://c", "auto", HTTPS, {}, endpoint_at("https://*.blob.core.windows.net")),
        # A variable of another cloud has no effect.
        ("gs://b", "auto", HTTPS, {"AWS_ENDPOINT_URL": "http://minio"}, endpoint_at("https://storage.googleapis.com")),
    ],
)
def test_public_endpoint_follows_from_url_and_environment(
    url: str, redirects: str, public_url: str, environment: dict[str, str], expected: PublicEndpoint | None
) -> None:
    assert resolve_public_endpoint(url, redirects, "", public_url, environment) == expected  # type: ignore[arg-type]


def test_configured_public_endpoint_is_used_unless_redirects_are_off() -> None:
    environment = {"AWS_ENDPOINT_URL": "http://minio:9000"}

    assert resolve_public_endpoint("s3://b", "auto", "https://s3.example", HTTPS, environment) == PublicEndpoint(
        ("https://s3.example",), "https://s3.example"
    )
    assert resolve_public_endpoint("s3://b", "off", "https://s3.example", HTTPS, environment) is None


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
    ("url", "public_endpoint", "environment", "start"),
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
            "https://images.example",
            {"AWS_ENDPOINT_URL": "http://minio:9000"},
            "https://images.example/b/p/a%20b.jpg?X-Amz-",
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
async def test_presigned_url_is_at_an_allowed_origin(
    monkeypatch: pytest.MonkeyPatch, url: str, public_endpoint: str, environment: dict[str, str], start: str
) -> None:
    S3("").configure(monkeypatch, **(AMAZON_KEY | environment))
    found = resolve_public_endpoint(url, "auto", public_endpoint, HTTPS)
    assert found is not None

    signed = await ObjectStore(url, found).presign("a b.jpg", "GET", 60)

    assert signed.startswith(start)
    assert any(signed.startswith(f"{origin}/") for origin in found.origins)


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        (
            "az://c/p",
            {},
            "no credentials were found. Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        ),
        ("gs://b/p", {"GOOGLE_SERVICE_ACCOUNT_KEY": "{"}, "Unable to decode service account file"),
        ("s3://b", {"AWS_S3_EXPRESS": "maybe"}, 'failed to parse "maybe" as boolean'),
    ],
)
async def test_invalid_environment_is_reported(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], message: str
) -> None:
    S3("").configure(monkeypatch, **(AMAZON_KEY | environment))

    with pytest.raises(ConfigurationError, match="cannot be used") as raised:
        await check_store(ObjectStore(url))

    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_store_that_cannot_sign_has_no_presigned_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    sas_token = {"AZURE_STORAGE_ACCOUNT_KEY": "", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"}
    S3("").configure(monkeypatch, **(AZURE_KEY | sas_token))

    storage = ObjectStore("az://c/p", endpoint_at("https://shop.example"))

    assert await storage.presign_or_none("a", "GET", 60) is None


async def test_public_endpoint_with_s3_specific_variable_is_refused(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.configure(monkeypatch, AWS_ENDPOINT_URL_S3=s3.endpoint)

    with pytest.raises(ConfigurationError, match="Set AWS_ENDPOINT_URL instead"):
        await check_store(ObjectStore(s3.url, PublicEndpoint(("https://s3.example",), "https://s3.example")))


@pytest.mark.parametrize("public_endpoint", ["", "https://images.example:9000"])
async def test_botocore_computes_the_same_signature(monkeypatch: pytest.MonkeyPatch, public_endpoint: str) -> None:
    """moto does not verify presigned URLs."""
    S3("").configure(monkeypatch, **(AMAZON_KEY | {"AWS_REGION": "eu-west-1"}))
    storage = ObjectStore("s3://b/p", resolve_public_endpoint("s3://b/p", "auto", public_endpoint, HTTPS))

    signed = await storage.presign("requests/größe 1.jpg", "GET", 300)

    unsigned, _, signature = signed.partition("&X-Amz-Signature=")
    request = AWSRequest("GET", unsigned)
    request.context["timestamp"] = parse_qs(urlsplit(signed).query)["X-Amz-Date"][0]
    signer = S3SigV4QueryAuth(Credentials("key", "secret"), "s3", "eu-west-1", expires=300)
    assert signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request) == signature
