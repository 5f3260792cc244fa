"""Inputs of mutations about requests."""

from __future__ import annotations

import strawberry

from gql_imgproc.csvfile.encoding import find_codec
from gql_imgproc.csvfile.layout import CsvLayout, NamedColumns
from gql_imgproc.csvfile.profiles.profile import normalize_name
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy, Priority
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.options import ProcessingOptionsInput
from gql_imgproc.graphql.types.scalars import URL, Upload
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests.upload import CsvUpload

#: Longest idempotency key and stored file name, in characters.
MAX_NAME_CHARS = 255


#: Most image columns that an upload may name; names are as long as a file name at most.
MAX_IMAGE_COLUMNS = 100


@strawberry.input(description="Columns of a file that is not recognized, by their names in its header.")
class CsvColumnsInput:
    images: list[str] = strawberry.field(description="Columns with image URLs.")
    name: str | None = strawberry.field(default=strawberry.UNSET, description="Column with the name of the product.")
    id: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Column that identifies the product; consecutive rows with the same value are one product.",
    )

    def to_columns(self) -> NamedColumns:
        columns = NamedColumns(tuple(self.images), unset_to_none(self.name), unset_to_none(self.id))
        names = [*columns.images, *(name for name in (columns.name, columns.id) if name is not None)]
        if not columns.images or len(columns.images) > MAX_IMAGE_COLUMNS:
            raise bad_input(f"`columns.images` must name 1 to {MAX_IMAGE_COLUMNS} columns.", "columns", "images")
        if not all(normalize_name(name) and len(name) <= MAX_NAME_CHARS for name in names):
            raise bad_input(f"`columns` must have names of 1 to {MAX_NAME_CHARS} characters.", "columns")
        return columns


@strawberry.input(description="Input of `uploadCsv`.")
class UploadCsvInput:
    file: Upload = strawberry.field(
        description="The product export of a shop, or a file with the columns serial number, product name and input "
        "image URLs: CSV, or a workbook of Excel or LibreOffice."
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
        description="A repeated call with the same key, file and options within 24 hours returns the first request; "
        "another file or other options are refused.",
    )

    profile: CsvProfile | None = strawberry.field(
        default=strawberry.UNSET, description="How to read the file; recognized from its header when left out."
    )
    columns: CsvColumnsInput | None = strawberry.field(
        default=strawberry.UNSET, description="Columns of a file that is not recognized; implies the profile CUSTOM."
    )
    on_invalid_row: InvalidRowPolicy | None = strawberry.field(
        default=strawberry.UNSET,
        description="What to do with an invalid row; REFUSE_FILE for the profile GENERIC and SKIP_ROW for the others "
        "when left out.",
    )
    encoding: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Encoding of the file as an IANA name, such as windows-1251 or Shift_JIS; detected when left out: "
        "UTF-8, UTF-16 with a byte order mark, or Windows-1252.",
    )

    sheet: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Sheet of a workbook that is read; the first visible one when left out.",
    )
    refresh: bool = strawberry.field(
        default=False,
        description="Whether to download and process also the images that are unchanged since an earlier request.",
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
            layout=self._layout(),
            refresh=self.refresh,
        )

    def _layout(self) -> CsvLayout:
        profile, named = unset_to_none(self.profile), unset_to_none(self.columns)
        if profile is CsvProfile.CUSTOM and named is None:
            raise bad_input("The profile CUSTOM requires `columns`.", "columns")
        if profile not in (None, CsvProfile.CUSTOM) and named is not None:
            raise bad_input("`columns` is only for the profile CUSTOM.", "columns")
        columns = None if named is None else named.to_columns()
        encoding = unset_to_none(self.encoding)
        if encoding is not None and find_codec(encoding) is None:
            raise bad_input(
                "`encoding` must be the IANA name of an encoding that contains ASCII, or UTF-16.", "encoding"
            )
        sheet = unset_to_none(self.sheet)
        if sheet is not None and not 0 < len(sheet) <= MAX_NAME_CHARS:
            raise bad_input(f"`sheet` must have 1 to {MAX_NAME_CHARS} characters.", "sheet")
        return CsvLayout(profile, columns, unset_to_none(self.on_invalid_row), encoding, sheet=sheet)


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
    error_code: ImageErrorCode | None = strawberry.field(
        default=strawberry.UNSET, description="Only images that failed for this reason; all when omitted."
    )
    host: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Only images of this host, as `statistics` names it; those of all hosts when omitted.",
    )


@strawberry.input(description="Input of `resendWebhook`.")
class ResendWebhookInput:
    id: strawberry.ID = strawberry.field(description="The request whose webhook to send again.")


@strawberry.input(description="Input of `deleteRequest`.")
class DeleteRequestInput:
    id: strawberry.ID = strawberry.field(description="The request to delete.")
