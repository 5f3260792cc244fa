"""Inputs and payloads of the mutations about API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import strawberry

from gql_imgproc import errors
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.payloads import UserError, outcome_of
from gql_imgproc.security.scopes import Scope

#: How long a rotated key stays valid by default, in seconds: a day to deploy the new one.
OVERLAP_SECONDS = 86_400

_SECRET = "The API key to send. It is shown once and cannot be read again."


@strawberry.input(description="Input of `createApiKey`.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="What the key is for, in 1 to 100 characters.")
    scopes: list[Scope] = strawberry.field(
        default_factory=lambda: [Scope.READ, Scope.WRITE], description="Scopes of the key, at least one."
    )
    expires_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When the key expires, within ten years; null or omitted: never."
    )


@strawberry.input(description="Input of `rotateApiKey`.")
class RotateApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The key to rotate.")
    overlap_seconds: int = strawberry.field(
        default=OVERLAP_SECONDS, description="How long the old key stays valid, up to 30 days."
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


@strawberry.input(description="Input of `revokeApiKey`.")
class RevokeApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The key to revoke.")


@strawberry.type(description="The key was created.")
class CreateApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description=_SECRET)


@strawberry.type(
    description="A key with the same name, scopes and lifetime was created; the old one expires after the overlap."
)
class RotateApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description=_SECRET)


@strawberry.type(
    description="The key is revoked. New requests fail at once; open sessions end within a minute. "
    "A key that was already revoked is unchanged."
)
class RevokeApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The key.")


@strawberry.type(description="The name, the scopes, the expiry or the overlap are invalid.")
class ApiKeyInvalid(UserError):
    error = errors.ApiKeyInvalid


@strawberry.type(description="The key does not exist.")
class ApiKeyNotFound(UserError):
    error = errors.ApiKeyNotFound


@strawberry.type(description="The key was already rotated, has expired or was revoked.")
class ApiKeyInactive(UserError):
    error = errors.ApiKeyNotRotatable


@strawberry.type(description="This is the last active ADMIN key of the tenant.")
class LastAdminKey(UserError):
    error = errors.LastAdminKey


CreateApiKeyResult = Annotated[CreateApiKeySuccess | ApiKeyInvalid, outcome_of("createApiKey")]
RotateApiKeyResult = Annotated[
    RotateApiKeySuccess | ApiKeyNotFound | ApiKeyInactive | ApiKeyInvalid, outcome_of("rotateApiKey")
]
RevokeApiKeyResult = Annotated[RevokeApiKeySuccess | ApiKeyNotFound | LastAdminKey, outcome_of("revokeApiKey")]
