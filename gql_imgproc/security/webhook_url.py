"""Addresses of webhooks: which are accepted, and what is shown of them."""

from __future__ import annotations

import re

from gql_imgproc.errors import WebhookUrlRefused
from gql_imgproc.net.address_policy import NetworkPolicy, check_url

_USER_INFO = re.compile(r"(?<=://)[^/?#]*@")
#: Query parameters whose values open doors, by their names: `access_token`, `apiKey`, `X-Amz-Signature`, `code`.
_SECRET = re.compile(
    r"(?<=[?&])([^=&#]*(?:token|secret|password|apikey|credential|signature)[^=&#]*="
    r"|(?:[^=&#]*[-_.])?(?:key|pass|auth|sig|code)=)[^&#]*",
    re.IGNORECASE,
)


def check_webhook_url(url: str, policy: NetworkPolicy) -> None:
    """Raises WebhookUrlRefused, with a sentence that tells how to mend it, for an address that is not called."""
    if (problem := check_url(url, policy)) is not None:
        raise WebhookUrlRefused(problem.message)


def redact_webhook_url(url: str) -> str:
    """The address without user name and password, and with stars for what looks like a key in its query."""
    return _SECRET.sub(r"\1***", _USER_INFO.sub("", url, count=1))
