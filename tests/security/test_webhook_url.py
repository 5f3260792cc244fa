"""Which webhook addresses are taken, and what is shown of them."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import WebhookUrlRefused
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.security.webhook_url import check_webhook_url, redact_webhook_url


def test_a_public_address_is_taken() -> None:
    check_webhook_url("https://shop.example.com/hooks?source=imgproc", NetworkPolicy())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/hook", "this machine"),
        ("https://shop.example.com:22/hook", "port 22"),
        ("https://me:secret@shop.example.com/hook", "user name"),
        ("ftp://shop.example.com/hook", "http"),
        ("", "empty"),
    ],
)
def test_others_are_refused_with_a_sentence(url: str, reason: str) -> None:
    with pytest.raises(WebhookUrlRefused, match=reason) as refused:
        check_webhook_url(url, NetworkPolicy())

    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("url", "shown"),
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
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    assert redact_webhook_url(url) == shown
