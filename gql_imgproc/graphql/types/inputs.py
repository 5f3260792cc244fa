"""What mutations are given."""

from __future__ import annotations

import strawberry

from gql_imgproc.enums import Priority
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.options import ProcessingOptionsInput
from gql_imgproc.graphql.types.scalars import URL, Upload
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests.upload import CsvUpload

#: Longest idempotency key and file name that are kept, in characters.
MAX_NAME_CHARS = 255


@strawberry.input(description="Input of `uploadCsv`.")
class UploadCsvInput:
    file: Upload = strawberry.field(
        description="The CSV file with the columns serial number, product name and input image URLs."
    )
    webhook_url: URL | None = strawberry.field(
        default=strawberry.UNSET,
        description="Where to send the webhook when the request reaches a final status.",
    )
    priority: Priority = strawberry.field(default=Priority.NORMAL, description="How urgent the request is.")
    options: ProcessingOptionsInput | None = strawberry.field(
        default=strawberry.UNSET, description="How to handle the images."
    )
    idempotency_key: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="A repeated call with the same key within 24 hours gives the first request again.",
    )

    def read(self) -> CsvUpload:
        """What the service is handed; a value that is out of its range is told in a sentence."""
        options = unset_to_none(self.options)
        return CsvUpload(
            file=self.file.file,
            filename=filename(self.file.filename or ""),
            options=DEFAULT if options is None else options.read(),
            priority=self.priority,
            webhook_url=unset_to_none(self.webhook_url),
            idempotency_key=_checked_key(unset_to_none(self.idempotency_key)),
        )


def filename(sent: str) -> str:
    """The name of an uploaded file, without a path and without characters that do not show."""
    name = sent.replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    return name[-MAX_NAME_CHARS:] if name.strip(".") else "upload.csv"


def _checked_key(key: str | None) -> str | None:
    if key is not None and not (0 < len(key) <= MAX_NAME_CHARS and key.isprintable()):
        raise bad_input(f"`idempotencyKey` must have 1 to {MAX_NAME_CHARS} printable characters.", "idempotencyKey")
    return key


@strawberry.input(description="Input of `cancelRequest`.")
class CancelRequestInput:
    id: strawberry.ID = strawberry.field(description="The request to stop.")


@strawberry.input(description="Input of `retryFailedImages`.")
class RetryFailedImagesInput:
    id: strawberry.ID = strawberry.field(description="The request whose failed images are tried again.")


@strawberry.input(description="Input of `resendWebhook`.")
class ResendWebhookInput:
    id: strawberry.ID = strawberry.field(description="The request whose webhook is sent again.")


@strawberry.input(description="Input of `deleteRequest`.")
class DeleteRequestInput:
    id: strawberry.ID = strawberry.field(description="The request to delete.")
