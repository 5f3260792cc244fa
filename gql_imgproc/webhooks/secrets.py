"""The secrets that sign webhooks: stored encrypted, shown once when they are created."""

from __future__ import annotations

from collections.abc import Sequence

from standardwebhooks import Webhook

from gql_imgproc.errors import SecretsKeyMissing
from gql_imgproc.requests.repository.webhook_outbox import ClaimedDelivery
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.webhook_signature import parse_webhook_keys
from gql_imgproc.webhooks import repository


def encrypt(runtime: Runtime, secret: str) -> str:
    """Raises SecretsKeyMissing."""
    if runtime.secrets is None:
        raise SecretsKeyMissing
    return runtime.secrets.encrypt(secret.encode()).decode()


async def signing_keys(runtime: Runtime, claim: ClaimedDelivery) -> Sequence[Webhook] | None:
    """The keys that sign a delivery, newest first; None if this process cannot decrypt them.

    A webhook of a tenant without a secret is signed with the secret in the settings. During the overlap after the first
    secret of a tenant, that one signs as well, so that receivers can change to the new one.
    """
    from cryptography.fernet import InvalidToken

    stored = await runtime.db.read(repository.list_secrets, claim.secret_owner)
    if not stored:
        return runtime.webhook_keys
    if runtime.secrets is None:
        return None
    keys: tuple[Webhook, ...] = ()
    for each in stored:
        try:
            keys += parse_webhook_keys(runtime.secrets.decrypt(each.ciphertext).decode())
        except InvalidToken:
            # Of a previous secret, the key may be lost. Without the newest one nothing can be sent.
            if not keys:
                return None
    return keys + (runtime.webhook_keys if any(each.is_with_service_secret for each in stored) else ())
