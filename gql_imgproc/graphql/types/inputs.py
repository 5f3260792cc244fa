"""Inputs of mutations about requests."""

from __future__ import annotations

import strawberry

from gql_imgproc.enums import Priority
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.options import ProcessingOptionsInput
from gql_imgproc.graphql.types.scalars import URL, Upload
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests.upload import CsvUpload

#: Longest idempotency key and stored file name, in characters.
MAX_NAME_CHARS = 255


@strawberry.input(description="Input of `uploadCsv`.")
class UploadCsvInput:
    file: Upload = strawberry.field(
        description="The CSV file with the columns serial number, product name and input image URLs."
    )
    webhook_url: URL | None = strawberry.field(
        default=strawberry.UNSET,
        description="URL that is called when the request reaches a final status.",
    )
    priority: Priority = strawberry.field(default=Priority.NORMAL, description="How urgent the request is.")
    options: ProcessingOptionsInput | None = strawberry.field(
        default=strawberry.UNSET, description="How to process the images."
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="A repeated call with the same key within 24 hours returns the first request.",
    )

    def to_upload(self) -> CsvUpload:
        """Raises a GraphQL error for a value out of range."""
        options = unset_to_none(self.options)
        return CsvUpload(
            file=self.file.file,
            filename=clean_filename(self.file.filename or ""),
            options=DEFAULT if options is None else options.to_options(),
            priority=self.priority,
            webhook_url=unset_to_none(self.webhook_url),
            idempotency_key=_validate_idempotency_key(unset_to_none(self.idempotency_key)),
        )


def clean_filename(name: str) -> str:
    """The name of an uploaded file, without its path and unprintable characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    return name[-MAX_NAME_CHARS:] if name.strip(".") else "upload.csv"


def _validate_idempotency_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= MAX_NAME_CHARS and key.isprintable()):
        raise bad_input(f"`idempotencyKey` must have 1 to {MAX_NAME_CHARS} printable characters.", "idempotencyKey")
    return key


@strawberry.input(description="Input of `cancelRequest`.")
class CancelRequestInput:
    id: strawberry.ID = strawberry.field(description="The request to cancel.")


@strawberry.input(description="Input of `retryFailedImages`.")
class RetryFailedImagesInput:
    id: strawberry.ID = strawberry.field(description="The request whose failed images to retry.")


@strawberry.input(description="Input of `resendWebhook`.")
class ResendWebhookInput:
    id: strawberry.ID = strawberry.field(description="The request whose webhook to send again.")


@strawberry.input(description="Input of `deleteRequest`.")
class DeleteRequestInput:
    id: strawberry.ID = strawberry.field(description="The request to delete.")
