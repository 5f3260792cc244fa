"""The enums of the schema, with a description of each value."""

from __future__ import annotations

from enum import EnumMeta, StrEnum

import strawberry
from strawberry.types.enum import has_enum_definition

from gql_imgproc.enums import (
    AuditAction,
    ChangeKind,
    CsvProfile,
    EndpointDisabledReason,
    ImageOutcome,
    ImageStatus,
    InvalidRowPolicy,
    Priority,
    ProductStatus,
    Quota,
    RequestFailureCode,
    RequestStatus,
    WebhookEventType,
    WebhookStatus,
)
from gql_imgproc.errors import CsvIssueCode, ImageErrorCode
from gql_imgproc.imaging.options import Effort, Fit, ImageFilter, Metadata, OutputFormat
from gql_imgproc.security.api_key import ApiKeyState
from gql_imgproc.security.scopes import Scope


class RequestOrder(StrEnum):
    CREATED_AT_DESC = "CREATED_AT_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"


def describe(kind: EnumMeta, description: str, /, name: str | None = None, **values: str) -> None:
    """Adds an enum to the schema; every value needs a description."""
    strawberry.enum(kind, name=name, description=description)
    assert has_enum_definition(kind)
    for value in kind.__strawberry_definition__.values:
        value.description = values.pop(value.name)
    assert not values, f"{kind.__name__} has no {', '.join(values)}"


describe(
    Scope,
    "A permission of an API key; none includes another. New values may be added.",
    READ="Read requests, products and images, subscribe to progress, and download files.",
    WRITE="Upload CSV files; cancel, retry and delete requests.",
    ADMIN="Manage API keys and webhook endpoints of the same tenant, and read its audit log.",
)
describe(
    ApiKeyState,
    "Whether an API key is valid. New values may be added.",
    USABLE="The key is valid.",
    ROTATED="Another key has replaced it; it is valid until it expires.",
    EXPIRED="The key has expired.",
    REVOKED="The key was revoked.",
)
describe(
    AuditAction,
    "The action of an audit event. New values may be added, so clients need a default branch.",
    REQUEST_ACCEPTED="A CSV file was uploaded and accepted.",
    REQUEST_CANCELLED="A request was cancelled.",
    REQUEST_RETRIED="The failed images of a request were queued again; the details name the error and the host, if it "
    "was limited to one.",
    REQUEST_DELETED="A request and its stored files were deleted, by a caller or at the end of their retention.",
    WEBHOOK_RESENT="The webhook of a request was sent again.",
    WEBHOOK_ENDPOINT_CREATED="A webhook endpoint was created.",
    WEBHOOK_ENDPOINT_ENABLED="A webhook endpoint was enabled.",
    WEBHOOK_ENDPOINT_DISABLED="A webhook endpoint was disabled, by a caller or because it failed.",
    WEBHOOK_SECRET_ROTATED="A new secret of a webhook endpoint was created; or, without a subject, of the tenant.",
    API_KEY_CREATED="An API key was created.",
    API_KEY_ROTATED="An API key was replaced by a new one, and expires soon.",
    API_KEY_REVOKED="An API key was revoked.",
    TENANT_CREATED="The tenant was created.",
    QUOTAS_SET="The quotas of the tenant were set, or reset to the defaults.",
    SIGNING_SECRET_ROTATED="The secret that signs URLs was rotated, for all tenants; "
    "the event is in the log of the default tenant.",
)
describe(
    CsvProfile,
    "How a CSV file is read and written. New values may be added.",
    GENERIC="The columns serial number, product name and input image URLs. The output has two more columns.",
    SHOPIFY="A product export of Shopify.",
    WOOCOMMERCE="A product export of WooCommerce.",
    MAGENTO="A product export of Magento 2 or Adobe Commerce.",
    BIGCOMMERCE="A product export of BigCommerce.",
    PRESTASHOP="A product file of PrestaShop.",
    MEDUSA="A product export of Medusa.",
    GOOGLE_MERCHANT="A product feed of Google Merchant Center.",
    AMAZON="An inventory file of Amazon, or one with the same column names.",
    CUSTOM="A file whose columns the upload named.",
)
describe(
    InvalidRowPolicy,
    "What to do with a row that is invalid.",
    REFUSE_FILE="Refuse the whole file and list what is wrong.",
    SKIP_ROW="Leave the row as it is, and list what is wrong in the warnings and in the report.",
)
describe(
    RequestStatus,
    "The status of a request: PENDING and PROCESSING may still change, "
    "the others are final until failed images are retried. New values may be added.",
    PENDING="The CSV file was checked and accepted, and no worker has started the request yet.",
    PROCESSING="Images are being downloaded and compressed.",
    COMPLETED="Every image was processed and none failed.",
    COMPLETED_WITH_ERRORS="Every image was processed and some failed; the output CSV exists.",
    FAILED="The request as a whole failed, see `failure`.",
    CANCELLED="A caller cancelled the request.",
)
describe(
    Priority,
    "How urgent a request is compared with others.",
    HIGH="Processed before requests of normal priority.",
    NORMAL="The default priority.",
    LOW="Processed after requests of normal priority, but never starved.",
)
describe(
    Quota,
    "A quota of a tenant. New values may be added.",
    OPEN_REQUESTS="Number of requests without a final status.",
    PENDING_IMAGES="Number of images of those requests that are not finished.",
    OPEN_ROWS="Number of rows of those requests.",
    STORED_BYTES="Bytes of the stored images and files: uploads, outputs and reports.",
    CSV_BYTES="Bytes of one CSV file; a larger one is refused as UploadTooLarge.",
)
describe(
    ProductStatus,
    "The status of a product. New values may be added.",
    PENDING="Not started.",
    PROCESSING="A worker is processing its images.",
    COMPLETED="All its images are completed.",
    COMPLETED_WITH_ERRORS="All its images were processed and some failed.",
    FAILED="All its images failed.",
    CANCELLED="Not finished because the request was cancelled.",
)
describe(
    ImageStatus,
    "The status of an image. New values may be added.",
    PENDING="Not finished yet.",
    COMPLETED="Stored, compressed or kept.",
    FAILED="Failed; `error` has the reason.",
    CANCELLED="Not processed because the request was cancelled.",
)
describe(
    ImageOutcome,
    "How a completed image was stored.",
    COMPRESSED="A re-encoded, smaller image is stored.",
    KEPT="The original bytes are stored, because compression would not have helped.",
    REUSED="The bytes had been processed with the same options before: the image has the URL of that result.",
)
describe(
    ChangeKind,
    "How a product or an image changed since an earlier request.",
    ADDED="Only the later request has it.",
    CHANGED="Both requests have it, with a difference.",
    GONE="Only the earlier request has it.",
    UNCHANGED="Both requests have it, without a difference.",
)
describe(
    ImageErrorCode,
    "Why an image failed. New values may be added, so clients need a default branch.",
    UNREACHABLE="The host could not be resolved or connected to, or it closed the connection.",
    HTTP_STATUS="The host answered with a status other than 2xx.",
    TIMEOUT="The host did not answer in time.",
    HOST_OVERLOADED="The host refused this image too often, or served no image for too long.",
    TOO_MANY_REDIRECTS="The host redirected more often than the limit, or in a circle.",
    FORBIDDEN_ADDRESS="The URL, or one it redirects to, points to a network or a port that is not allowed.",
    NOT_AN_IMAGE="The file is not an image.",
    UNSUPPORTED_FORMAT="The image has a format that is not supported.",
    TOO_LARGE="The file size, the pixel count or the frame count exceeds the limit.",
    CORRUPT="The image is damaged or incomplete.",
    OPTIONS_IMPOSSIBLE="The options cannot be applied to the image, for instance a crop that lies outside it.",
    WORKER_CRASHED="Processing the image crashed a worker repeatedly.",
    INTERNAL="Internal error that persisted after retries.",
)
describe(
    CsvIssueCode,
    "What is wrong in a CSV file. New values may be added, so clients need a default branch.",
    EMPTY_FILE="The file has no data row.",
    NOT_CSV="The file is binary, for instance a damaged workbook or an image; text of another kind gives HEADER.",
    ENCODING="The text cannot be decoded, or its character encoding cannot be detected.",
    CHARACTER_INVALID="The text has a control character such as NUL.",
    QUOTE_INVALID="A quotation mark is not closed, or text follows a closing one.",
    HEADER="A required column is missing or misnamed, or the text has no header row at all.",
    COLUMN_DUPLICATE="A column appears twice, possibly under two of its accepted names.",
    COLUMN_COUNT="The row has too few or too many columns.",
    SERIAL_NUMBER_INVALID="The serial number is missing or is not a positive whole number.",
    SERIAL_NUMBER_DUPLICATE="The serial number appeared in an earlier row.",
    PRODUCT_NAME_EMPTY="The product name is empty.",
    IMAGE_URL_MISSING="The row has no image URL.",
    IMAGE_URL_INVALID="An image URL is malformed, is not an http or https URL, or carries credentials.",
    IMAGE_URL_FORBIDDEN="An image URL points to a network or a port that is not allowed.",
    FIELD_TOO_LONG="A field is longer than the limit.",
    LIMIT_EXCEEDED="The file has more rows, columns or images than the limit, or the row has more images.",
    SHEET="A workbook lacks the named sheet, or has other sheets, which were not read.",
)
describe(
    WebhookEventType,
    "What a webhook event is about. New values may be added.",
    REQUEST_COMPLETED="`request.completed`: a request is COMPLETED or COMPLETED_WITH_ERRORS.",
    REQUEST_FAILED="`request.failed`: a request is FAILED.",
    REQUEST_CANCELLED="`request.cancelled`: a request is CANCELLED.",
    REQUEST_PROGRESSED="`request.progressed`: a quarter, a half or three quarters of the images are finished.",
    WEBHOOK_TEST="`webhook.test`: a test, which is sent whatever types an endpoint has.",
)
describe(
    EndpointDisabledReason,
    "Why a webhook endpoint is disabled. New values may be added.",
    name="WebhookEndpointDisabledReason",
    CALLER="A caller disabled it.",
    GONE="It responded with 410 (Gone).",
    FAILING="All attempts failed for five days.",
)
describe(
    WebhookStatus,
    "The status of a webhook delivery.",
    PENDING="Waiting for the request to reach a final status, or for the first attempt.",
    DELIVERED="The receiver answered with a 2xx status.",
    RETRYING="The last attempt failed and another one is planned.",
    FAILED="The last planned attempt failed.",
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
    Effort,
    "CPU time that is spent for fewer bytes at the same quality.",
    FAST="Least CPU time.",
    BALANCED="Few bytes in little CPU time.",
    SMALL="Fewest bytes: three to four times the CPU time.",
)
describe(
    Fit,
    "How an image is reduced to `maxWidth` and `maxHeight`. It is never enlarged.",
    INSIDE="All of it stays.",
    COVER="What exceeds their ratio is cut off, in equal parts at both ends; both are needed, and there is no `pad`.",
)
describe(
    Metadata,
    "Metadata of an image that its result keeps.",
    NONE="Nothing but orientation, resolution and colours.",
    COPYRIGHT="In addition, creator, copyright and credit of EXIF, IPTC and XMP.",
    ALL="All that the target format can store.",
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
    ALL_IMAGES_FAILED="Every image failed.",
    DEADLINE="The deadline of the request passed.",
    INTERNAL="Internal error.",
)
