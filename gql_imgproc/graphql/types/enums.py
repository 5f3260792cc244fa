"""The enums of the schema: the states and codes of the ground floor, each value with its description."""

from __future__ import annotations

from enum import EnumMeta, StrEnum

import strawberry
from strawberry.types.enum import has_enum_definition

from gql_imgproc.enums import (
    AuditAction,
    ImageOutcome,
    ImageStatus,
    Priority,
    ProductStatus,
    Quota,
    RequestFailureCode,
    RequestStatus,
    WebhookStatus,
)
from gql_imgproc.errors import CsvIssueCode, ImageErrorCode
from gql_imgproc.imaging.options import ImageFilter, OutputFormat
from gql_imgproc.security.api_key import ApiKeyState
from gql_imgproc.security.scopes import Scope


class RequestOrder(StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


def describe(kind: EnumMeta, description: str, /, name: str | None = None, **values: str) -> None:
    """Puts an enum into the schema; every value needs its description."""
    strawberry.enum(kind, name=name, description=description)
    assert has_enum_definition(kind)
    for value in kind.__strawberry_definition__.values:
        value.description = values.pop(value.name)
    assert not values, f"{kind.__name__} has no {', '.join(values)}"


describe(
    Scope,
    "What an API key is good for; none includes another. New values may be added.",
    READ="To see requests, products and images, to follow their progress and to download.",
    WRITE="To upload, and to stop, retry and delete requests.",
    ADMIN="To make and revoke API keys of the same tenant, and to read its audit log.",
)
describe(
    ApiKeyState,
    "Whether an API key is good. New values may be added.",
    name="ApiKeyState",
    USABLE="It is good.",
    ROTATED="It is good until it expires soon: another key has taken its place.",
    EXPIRED="Its time is over.",
    REVOKED="Somebody made it worthless.",
)
describe(
    AuditAction,
    "What an audit event tells of. New values may be added, so clients need a default branch.",
    name="AuditAction",
    REQUEST_ACCEPTED="A CSV file was uploaded and accepted.",
    REQUEST_CANCELLED="A request was stopped.",
    REQUEST_RETRIED="The failed images of a request were queued again.",
    REQUEST_DELETED="A request and all it stored were removed, by a caller or since its time was over.",
    WEBHOOK_RESENT="The webhook of a request was sent again.",
    API_KEY_CREATED="An API key was made.",
    API_KEY_ROTATED="An API key got a successor, and ends soon.",
    API_KEY_REVOKED="An API key was made worthless.",
    TENANT_CREATED="The tenant was made.",
    QUOTAS_SET="The tenant got quotas of its own, or those of the service again.",
    SIGNING_SECRET_ROTATED="Addresses are signed with another secret, for all tenants; "
    "it stands in the log of the default one.",
)
describe(
    RequestStatus,
    "Where a request stands: PENDING and PROCESSING may still change, "
    "the others are final until failed images are retried. New values may be added.",
    PENDING="The CSV file was checked and accepted, and no worker has taken the request up yet.",
    PROCESSING="Images are being fetched and compressed.",
    COMPLETED="Every image was handled and none failed.",
    COMPLETED_WITH_ERRORS="Every image was handled and some failed; the output CSV exists.",
    FAILED="The request as a whole could not be done, see `failure`.",
    CANCELLED="A caller stopped the request.",
)
describe(
    Priority,
    "How urgent a request is compared with others.",
    HIGH="Taken up before requests of normal priority.",
    NORMAL="The usual priority.",
    LOW="Taken up after requests of normal priority, yet never starved.",
)
describe(
    Quota,
    "What a tenant may have so much of. New values may be added.",
    OPEN_REQUESTS="Requests without a final status.",
    PENDING_IMAGES="Images of its open requests that have not ended.",
    STORED_BYTES="Bytes of the compressed images that it stores.",
    CSV_BYTES="Bytes of one CSV file; one that is larger is refused as UploadTooLarge.",
)
describe(
    ProductStatus,
    "Where a product stands. New values may be added.",
    PENDING="Not started.",
    PROCESSING="A worker handles its images.",
    COMPLETED="All its images are done.",
    COMPLETED_WITH_ERRORS="All its images were handled and some failed.",
    FAILED="All its images failed.",
    CANCELLED="Not finished because the request was cancelled.",
)
describe(
    ImageStatus,
    "Where an image stands. New values may be added.",
    PENDING="Not done yet.",
    COMPLETED="Stored, compressed or kept.",
    FAILED="Given up, as told by its `error`.",
    CANCELLED="Not done because the request was cancelled.",
)
describe(
    ImageOutcome,
    "How a completed image was stored.",
    COMPRESSED="A newly encoded, smaller image is stored.",
    KEPT="The original bytes are stored, since compressing them would not have helped.",
)
describe(
    ImageErrorCode,
    "Why an image failed. New values may be added, so clients need a default branch.",
    UNREACHABLE="The host could not be resolved or connected to, or it broke the connection.",
    HTTP_STATUS="The host answered with a status other than 2xx.",
    TIMEOUT="The host did not answer in time.",
    TOO_MANY_REDIRECTS="The host redirected more often than the limit, or in a circle.",
    FORBIDDEN_ADDRESS="The URL, or one it redirects to, points into a network or to a port that is not allowed.",
    NOT_AN_IMAGE="The bytes are not those of an image.",
    UNSUPPORTED_FORMAT="The bytes are those of an image in a format that is not supported.",
    TOO_LARGE="The file, its pixel count or its frame count is over the limit.",
    CORRUPT="The image is damaged or incomplete.",
    OPTIONS_IMPOSSIBLE="The options cannot be applied to the image, for instance a crop that lies outside it.",
    WORKER_CRASHED="The image brought a worker down repeatedly.",
    INTERNAL="A fault of the service that remained after its retries.",
)
describe(
    CsvIssueCode,
    "What is wrong in a CSV file. New values may be added, so clients need a default branch.",
    EMPTY_FILE="The file has no data row.",
    NOT_CSV="The bytes are those of a binary file, for instance a spreadsheet or an image named .csv; "
    "text of another kind gives HEADER.",
    ENCODING="The text cannot be decoded, or its character encoding cannot be told.",
    CHARACTER_INVALID="A control character such as NUL stands in the text.",
    QUOTE_INVALID="A quotation mark is not closed, or text follows a closing one.",
    HEADER="A required column is missing or misnamed, or the text has no header row at all.",
    COLUMN_DUPLICATE="A column appears twice, possibly under two of its accepted names.",
    COLUMN_COUNT="The row has too few or too many columns.",
    SERIAL_NUMBER_INVALID="The serial number is missing or is not a positive whole number.",
    SERIAL_NUMBER_DUPLICATE="The serial number appeared in an earlier row.",
    PRODUCT_NAME_EMPTY="The product name is empty.",
    IMAGE_URL_MISSING="The row has no image URL.",
    IMAGE_URL_INVALID="An image URL is malformed, is not an http or https URL, or carries credentials.",
    IMAGE_URL_FORBIDDEN="An image URL points into a network or to a port that is not allowed.",
    FIELD_TOO_LONG="A field is longer than the limit.",
    LIMIT_EXCEEDED="The file has more rows, columns or images than the limit, or the row has more images.",
)
describe(
    WebhookStatus,
    "Where the delivery of a webhook stands.",
    PENDING="Waiting for the request to reach a final status, or for the first attempt.",
    DELIVERED="The receiver answered with a 2xx status.",
    RETRYING="The last attempt failed and another one is planned.",
    FAILED="Given up after the last planned attempt.",
)
describe(
    OutputFormat,
    "Formats that images can be written in.",
    ORIGINAL="The format of the source image.",
    JPEG="JPEG.",
    PNG="PNG.",
    WEBP="WebP.",
    AVIF="AVIF.",
)
describe(
    ImageFilter,
    "Filters that can be applied to images.",
    GRAYSCALE="Turns the image into shades of grey.",
    SHARPEN="Makes edges crisper.",
    BLUR="Makes the image softer.",
    AUTOCONTRAST="Stretches the contrast to the full range of tones.",
)
describe(
    RequestOrder,
    "Order of `requests`.",
    CREATED_AT_DESC="Newest first.",
    CREATED_AT_ASC="Oldest first.",
)
describe(
    RequestFailureCode,
    "Reasons for the failure of a whole request.",
    CSV_UNREADABLE="The stored CSV could not be read again.",
    ALL_IMAGES_FAILED="No image could be handled.",
    DEADLINE="The deadline of the request passed.",
    INTERNAL="A fault of the service.",
)
