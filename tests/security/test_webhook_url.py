"""Validation and redaction of webhook URLs."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import WebhookUrlInvalid
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.security.webhook_url import check_webhook_url, redact_webhook_url


def test_public_url_is_accepted() -> None:
    check_webhook_url("https://shop.example.com/hooks?source=imgproc", NetworkPolicy())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/hook", "this machine"),
        ("https://shop.example.com:22/hook", "port 22"),
        ("https://me:secret@shop.example.com/hook", "user name"),
        ("ftp://shop.example.com/hook", "Unsupported URL scheme"),
        ("", "empty"),
    ],
)
def test_other_url_is_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(WebhookUrlInvalid, match=reason) as refused:
        check_webhook_url(url, NetworkPolicy())

    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://shop.example.com/hooks?order=5#top", "https://shop.example.com/hooks?order=5#top"),
        ("https://me:secret@shop.example.com/hook", "https://shop.example.com/hook"),
        ("https://shop.example.com/a@b", "https://shop.example.com/a@b"),
        ("https://shop.example.com/?access_token=abc&a=1", "https://shop.example.com/?access_token=***&a=1"),
        ("https://shop.example.com/?a=1&apiKey=abc#x", "https://shop.example.com/?a=1&apiKey=***#x"),
        ("https://shop.example.com/?X-Amz-Signature=abc", "https://shop.example.com/?X-Amz-Signature=***"),
        ("https://shop.example.com/?code=abc&design=7", "https://shop.example.com/?code=***&design=7"),
    ],
)
def test_credentials_are_redacted(url: str, redacted: str) -> None:
    assert redact_webhook_url(url) == redacted
