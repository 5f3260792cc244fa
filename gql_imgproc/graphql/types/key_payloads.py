"""What mutations about API keys are given and answer."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import strawberry

from gql_imgproc import errors
from gql_imgproc.access.api_keys import IssuedApiKey
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.payloads import UserError
from gql_imgproc.security.scopes import Scope

#: How long a rotated key goes on unless something else is asked for, in seconds: a day to bring the new one about.
OVERLAP_SECONDS = 86_400

_SECRET = "The key as callers present it. It is shown this once, and nobody can read it again."
_PATH = "Path of the input field at fault."


@strawberry.input(description="Input of `createApiKey`.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="What the key is for, in 1 to 100 characters.")
    scopes: list[Scope] = strawberry.field(
        default_factory=lambda: [Scope.READ, Scope.WRITE], description="What the key is good for, at least one."
    )
    expires_at: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="When the key expires, within ten years; null or left out: never."
    )


@strawberry.input(description="Input of `rotateApiKey`.")
class RotateApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The key to rotate.")
    overlap_seconds: int = strawberry.field(
        default=OVERLAP_SECONDS, description="How long the old key goes on, up to 30 days."
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


@strawberry.input(description="Input of `revokeApiKey`.")
class RevokeApiKeyInput:
    id: strawberry.ID = strawberry.field(description="The key to revoke.")


@strawberry.type(description="The key was made.")
class CreateApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description=_SECRET)

    @classmethod
    def of(cls, made: IssuedApiKey) -> CreateApiKeySuccess:
        return cls(api_key=ApiKey.of(made.key), secret=made.text)


@strawberry.type(description="A key with the same name, scopes and length of life was made; the old one ends soon.")
class RotateApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The new key.")
    secret: str = strawberry.field(description=_SECRET)

    @classmethod
    def of(cls, made: IssuedApiKey) -> RotateApiKeySuccess:
        return cls(api_key=ApiKey.of(made.key), secret=made.text)


@strawberry.type(
    description="The key is worthless: at once for what begins, within a minute for what is open. "
    "One that was revoked before stays as it was."
)
class RevokeApiKeySuccess:
    api_key: ApiKey = strawberry.field(description="The key.")


@strawberry.type(description="A key cannot be made like that.")
class ApiKeyInvalid(UserError):
    path: list[str] = strawberry.field(description=_PATH)

    @classmethod
    def of(cls, refused: errors.ApiKeyInvalid) -> ApiKeyInvalid:
        return cls(message=str(refused), path=["input", refused.field])


@strawberry.type(description="There is no such key.")
class ApiKeyNotFound(UserError):
    path: list[str] = strawberry.field(description=_PATH)


@strawberry.type(description="The key was rotated already, has expired or is revoked.")
class ApiKeyInactive(UserError):
    path: list[str] = strawberry.field(description=_PATH)


@strawberry.type(description="It is the last usable key of the tenant with the scope ADMIN.")
class LastAdminKey(UserError):
    path: list[str] = strawberry.field(description=_PATH)


CreateApiKeyResult = Annotated[
    CreateApiKeySuccess | ApiKeyInvalid,
    strawberry.union("CreateApiKeyResult", description="Outcome of `createApiKey`."),
]
RotateApiKeyResult = Annotated[
    RotateApiKeySuccess | ApiKeyNotFound | ApiKeyInactive | ApiKeyInvalid,
    strawberry.union("RotateApiKeyResult", description="Outcome of `rotateApiKey`."),
]
RevokeApiKeyResult = Annotated[
    RevokeApiKeySuccess | ApiKeyNotFound | LastAdminKey,
    strawberry.union("RevokeApiKeyResult", description="Outcome of `revokeApiKey`."),
]
