"""Limits and checks of other packages, from the settings."""

from __future__ import annotations

from gql_imgproc.access.quotas import Limits
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.rows import UrlCheck
from gql_imgproc.errors import CsvIssueCode
from gql_imgproc.imaging.compress import ImageLimits
from gql_imgproc.net.address_policy import NetworkPolicy, check_url
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings import Settings


def csv_limits(settings: Settings) -> CsvLimits:
    return CsvLimits(
        max_products=settings.max_products,
        max_images=settings.max_images,
        max_columns=settings.max_columns,
        max_field_chars=settings.max_field_chars,
    )


def accepted_csv_limits() -> CsvLimits:
    """No limits, for a CSV that was accepted: it stays readable when the settings are lowered later."""
    unlimited = 2**31
    return CsvLimits(max_products=unlimited, max_images=unlimited, max_columns=unlimited, max_field_chars=unlimited)


def url_check(policy: NetworkPolicy) -> UrlCheck:
    """Checks the URLs of a CSV against the network policy."""

    def check(url: str) -> tuple[CsvIssueCode, str] | None:
        problem = check_url(url, policy)
        return (CsvIssueCode[f"IMAGE_URL_{problem.code.name}"], problem.message) if problem else None

    return check


def image_limits(settings: Settings) -> ImageLimits:
    return ImageLimits(
        max_pixels=settings.max_image_pixels,
        max_total_pixels=4 * settings.max_image_pixels,
        max_scanned_pixels=20 * settings.max_image_pixels,
        min_saving_percent=settings.min_saving_percent,
    )


def quota_limits(settings: Settings, caller: Caller) -> Limits | None:
    """Default quotas of tenants; None for a caller without quotas."""
    if caller.is_unlimited:
        return None
    return Limits(
        open_requests=settings.quota_open_requests,
        pending_images=settings.quota_pending_images,
        open_rows=settings.quota_open_rows,
        stored_bytes=settings.quota_stored_bytes,
        csv_bytes=settings.quota_csv_bytes,
    )
