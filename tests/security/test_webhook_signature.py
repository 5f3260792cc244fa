"""Webhook signatures, verified with the Standard Webhooks library."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.security import webhook_signature

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
UNRELATED = "whsec_" + base64.b64encode(b"s" * 32).decode()

PAYLOAD = '{"type":"request.completed","name":"Größe"}'


def test_signature_is_verified_by_the_library() -> None:
    sent_at = datetime.now(UTC)

    headers = webhook_signature.signature_headers(webhook_signature.parse_webhook_keys(NEW), "msg_1", sent_at, PAYLOAD)

    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == str(int(sent_at.timestamp()))
    assert Webhook(NEW).verify(PAYLOAD.encode(), headers)["name"] == "Größe"
    with pytest.raises(WebhookVerificationError):
        Webhook(UNRELATED).verify(PAYLOAD, headers)


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n"])
def test_both_secrets_verify_during_a_rotation(separator: str) -> None:
    keys = webhook_signature.parse_webhook_keys(f"{OLD}{separator}{NEW}")

    headers = webhook_signature.signature_headers(keys, "msg_1", datetime.now(UTC), PAYLOAD)

    assert Webhook(OLD).verify(PAYLOAD, headers)
    assert Webhook(NEW).verify(PAYLOAD, headers)


def test_no_secret_means_no_signature() -> None:
    assert webhook_signature.parse_webhook_keys("") == ()

    headers = webhook_signature.signature_headers((), "msg_1", datetime(2026, 1, 1, tzinfo=UTC), PAYLOAD)

    assert headers == {"webhook-id": "msg_1", "webhook-timestamp": "1767225600"}


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!", "whsec_bXktc2Vjc2V0", "whsec_äöü", "my-own-secret"])
def test_invalid_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        webhook_signature.parse_webhook_keys(f"{NEW},{secret}")

    assert "IMGPROC_WEBHOOK_SECRET" in str(refused.value)
    assert secret.removeprefix("whsec_") not in str(refused.value) or secret == "whsec_"


def test_prefix_and_padding_of_a_secret_are_optional() -> None:
    bare = OLD.removeprefix("whsec_").rstrip("=")

    headers = webhook_signature.signature_headers(
        webhook_signature.parse_webhook_keys(bare), "msg_1", datetime.now(UTC), PAYLOAD
    )

    assert Webhook(OLD).verify(PAYLOAD, headers)


def test_verify_accepts_any_of_its_keys_and_nothing_else() -> None:
    signed = webhook_signature.signature_headers(
        webhook_signature.parse_webhook_keys(OLD), "msg_1", datetime.now(UTC), PAYLOAD
    )

    assert webhook_signature.verify(webhook_signature.parse_webhook_keys(f"{NEW} {OLD}"), signed, PAYLOAD.encode())
    assert not webhook_signature.verify(webhook_signature.parse_webhook_keys(NEW), signed, PAYLOAD.encode())
    assert not webhook_signature.verify(webhook_signature.parse_webhook_keys(OLD), signed, PAYLOAD.encode() + b" ")
    assert not webhook_signature.verify((), signed, PAYLOAD.encode())


@pytest.mark.parametrize("age", [timedelta(minutes=6), timedelta(minutes=-6)])
def test_old_or_future_signature_is_refused(age: timedelta) -> None:
    keys = webhook_signature.parse_webhook_keys(OLD)

    signed = webhook_signature.signature_headers(keys, "msg_1", datetime.now(UTC) - age, PAYLOAD)

    assert not webhook_signature.verify(keys, signed, PAYLOAD.encode())


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("webhook-signature", ""),
        ("webhook-signature", "v1"),
        ("webhook-signature", "v1,a,b"),
        ("webhook-signature", "v1,%%%"),
        ("webhook-signature", "v1,é"),
        ("webhook-timestamp", "nan"),
        ("webhook-timestamp", "soon"),
        ("webhook-id", ""),
    ],
)
def test_malformed_headers_are_refused(header: str, value: str) -> None:
    keys = webhook_signature.parse_webhook_keys(OLD)
    signed = webhook_signature.signature_headers(keys, "msg_1", datetime.now(UTC), PAYLOAD)

    assert not webhook_signature.verify(keys, signed | {header: value}, PAYLOAD.encode())


def test_payload_that_is_not_utf8_is_refused() -> None:
    keys = webhook_signature.parse_webhook_keys(OLD)
    signed = webhook_signature.signature_headers(keys, "msg_1", datetime.now(UTC), PAYLOAD)

    assert not webhook_signature.verify(keys, signed, b"\xff")
