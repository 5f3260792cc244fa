"""Validation and redaction of webhook URLs."""

from __future__ import annotations

import re

from gql_imgproc.errors import WebhookUrlInvalid
from gql_imgproc.net.address_policy import NetworkPolicy, check_url

_USER_INFO = re.compile(r"(?<=://)[^/?#]*@")
#: Query parameters with secret values, such as `access_token`, `apiKey`, `X-Amz-Signature`, `code`.
_SECRET = re.compile(
    r"(?<=[?&])([^=&#]*(?:token|secret|password|apikey|credential|signature)[^=&#]*="
    r"|(?:[^=&#]*[-_.])?(?:key|pass|auth|sig|code)=)[^&#]*",
    re.IGNORECASE,
)


def check_webhook_url(url: str, policy: NetworkPolicy) -> None:
    """Raises WebhookUrlInvalid with a message that says how to fix the URL."""
    if (problem := check_url(url, policy)) is not None:
        raise WebhookUrlInvalid(problem.message)


def redact_webhook_url(url: str) -> str:
    """Remove user name and password, and replace values of the query that look like secrets with `***`."""
    return _SECRET.sub(r"\1***", _USER_INFO.sub("", url, count=1))
