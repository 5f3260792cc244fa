"""Settings: environment variables with the prefix `IMGPROC_`, also from an `.env` file.

This file has the default, the unit and the reason of each setting; a test compares the table in the docs with it.
An entry point reads the settings once and passes them down.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gql_imgproc import settings_errors, settings_types
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings_types import Network

MiB = 1024 * 1024
#: A duration. More than a year could exceed the range of dates when added to one.
Seconds = Annotated[float, Field(le=366 * 86_400)]
#: A worker maps libraries, thread stacks and heaps before the first image, though it uses little of that memory.
_MIN_WORKER_MEMORY = 2048 * MiB


log = logging.getLogger(__name__)

#: Settings that are accepted and no longer have an effect; their descriptions name the successor.
DEPRECATED = ("window", "worker_threads", "fetch_concurrency", "turn_seconds", "poll_seconds")
_USE_IMAGES_IN_FLIGHT = "Deprecated, without effect: use `IMGPROC_IMAGES_IN_FLIGHT`."


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="IMGPROC_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    # Locations.
    data_dir: Path = Field(Path("data"), description="Folder for the SQLite database and the local object store.")
    database_url: str = Field(
        "",
        description="`sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`. "
        "Empty: `imgproc.db` in the data folder.",
    )
    database_connections: int = Field(
        6, ge=2, le=1_000, description="Database connections per process; each transaction uses one."
    )
    database_prepare: bool = Field(
        True,
        description="Use prepared statements with PostgreSQL. "
        "Set to `false` behind PgBouncer before 1.22 in transaction mode.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis or Valkey. If not set, `up` and `demo` start an embedded Redis."
    )
    storage_url: str = Field(
        "", description="`file:///PATH`, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Empty: `objects` in the data folder."
    )
    storage_redirects: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Redirect browsers to signed URLs of the bucket for images and output CSVs. "
        "`auto`: unless the endpoint looks like one in a private network.",
    )
    storage_public_endpoint: str = Field(
        "", description="Endpoint of an `s3://` store for browsers, if they cannot reach the service's own endpoint."
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        description="Base of every URL that the service returns. Default: the URL that `up` or `api` listens on. "
        "On loopback they accept only its host and the names of this machine as the `Host` header.",
    )

    # Allowed destinations.
    fetch_allow_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Non-public networks that images may be fetched from and webhooks sent to: CIDRs, comma-separated.",
    )
    fetch_allow_ports: Annotated[frozenset[int] | Literal["*"], NoDecode] = Field(
        frozenset({80, 443}), description="Ports that may be connected to, comma-separated; `*` for any."
    )

    # Limits on input.
    max_upload_bytes: ByteSize = Field(ByteSize(20 * MiB), gt=0, description="Maximum size of a CSV file, in bytes.")
    max_products: int = Field(100_000, gt=0, description="Maximum number of data rows in a CSV file.")
    max_images: int = Field(500_000, gt=0, description="Maximum number of image URLs in a CSV file.")
    max_columns: int = Field(100, ge=3, description="Maximum number of columns in a CSV file.")
    max_field_chars: int = Field(
        250_000, gt=0, description="Maximum length of a CSV cell, in characters; 100 URLs of 2,048 characters fit."
    )
    max_image_bytes: ByteSize = Field(
        ByteSize(30 * MiB), gt=0, description="Maximum size of a downloaded image, in bytes."
    )
    max_image_pixels: int = Field(
        50_000_000,
        gt=0,
        description="Maximum size of a decoded image, in pixels. "
        "All frames of an animation together may have four times as many.",
    )
    max_query_cost: int = Field(
        5_000, gt=0, description="Maximum cost of one GraphQL operation. 5,000 needs up to 0.2 s of CPU."
    )

    # Rate limits and quotas.
    rate_operations: str = Field(
        "600/minute",
        description="Rate limit for GraphQL operations per API key, or per IP address without a key, such as "
        "`60/minute`, `10/second`, `5 per 2 hours`. 0: no limit.",
    )
    rate_uploads: str = Field("60/minute", description="Rate limit for uploads. An upload also counts as an operation.")
    rate_subscriptions: str = Field(
        "300/minute", description="Rate limit for starting subscriptions. A subscription also counts as an operation."
    )
    rate_failures: str = Field(
        "10/minute",
        description="Failed authentications allowed per IP address. "
        "Beyond that, unknown keys from it are rejected unchecked.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="Proxies whose `X-Forwarded-For` header is trusted: CIDRs, comma-separated."
    )
    quota_open_requests: int = Field(100, ge=0, description="Quota of open requests per tenant. 0: no limit.")
    quota_pending_images: int = Field(
        2_000_000, ge=0, description="Quota of unfinished images in the open requests of a tenant. 0: no limit."
    )
    quota_stored_bytes: ByteSize = Field(
        ByteSize(100 * 1024 * MiB),
        ge=0,
        description="Quota of stored bytes of compressed images per tenant; "
        "beyond that, its uploads are refused until it deletes requests. 0: no limit.",
    )
    quota_csv_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Maximum size of a CSV file per tenant, in bytes. 0: `IMGPROC_MAX_UPLOAD_BYTES`."
    )

    # Visibility.
    introspection: Literal["auto", "on", "off"] = Field(
        "auto", description="Enable introspection and GraphiQL at `/graphql`. `auto`: only when listening on loopback."
    )

    private_images: bool = Field(
        False,
        description="Require an API key or a signed URL for `/api/image`. "
        "Otherwise anyone who has the URL of an image, which cannot be guessed, can open it.",
    )
    signed_url_seconds: Seconds = Field(
        86_400, gt=0, description="Lifetime of signed URLs, which work without an API key."
    )

    # Fetching.
    fetch_connect_seconds: Seconds = Field(5, gt=0, description="Deadline for a connection to an image host.")
    fetch_first_byte_seconds: Seconds = Field(15, gt=0, description="Maximum time that an image host sends no data.")
    fetch_total_seconds: Seconds = Field(
        60, gt=0, description="Deadline for the download of one image, from first to last byte."
    )
    fetch_per_host: int = Field(
        64, gt=0, description="Concurrent downloads per image host, of all worker processes together."
    )
    host_patience_seconds: Seconds = Field(
        1_800,
        gt=0,
        description="Time without any answer but refusals from an image host, after which its waiting images fail.",
    )

    # Work.
    images_in_flight: int = Field(
        32,
        gt=0,
        description="Images in flight per worker process: those being downloaded, waiting, compressed and stored.",
    )
    cpu_slots: int = Field(
        0, ge=0, description="Images decoded at once per worker process. 0: cores divided by worker processes."
    )
    fetched_bytes_in_flight: ByteSize = Field(
        ByteSize(256 * MiB),
        gt=0,
        description="Memory budget per worker process for downloaded images that wait to be decoded, in bytes. "
        "While it is used up, no download starts.",
    )
    megapixels_in_flight: int = Field(
        100, gt=0, description="Memory budget per worker process for images being decoded, in megapixels."
    )
    worker_memory_bytes: ByteSize = Field(
        ByteSize(4 * 1024 * MiB),
        ge=0,
        description="Virtual memory limit of a worker process, which itself uses about 1.5 GiB. "
        "An image that needs more fails, and the machine does not run out of memory. 0: no limit.",
    )
    min_saving_percent: float = Field(
        5,
        ge=0,
        lt=100,
        description="A result that saves less than this, or less than 10 for AVIF, is dropped, "
        "and the original bytes are kept.",
    )
    lease_seconds: Seconds = Field(
        15, gt=0, description="Lease duration of a claimed image; the worker must renew it in time."
    )
    sweep_seconds: Seconds = Field(
        5, gt=0, description="Interval of reconcile, which finds work that was lost and resumes it."
    )
    retry_delays: Annotated[tuple[float, ...], NoDecode] = Field(
        (1, 5, 30, 120), description="Delays before each retry after a temporary failure: seconds, comma-separated."
    )
    auto_retries: int = Field(
        3, ge=0, description="Automatic retries of a finished request for images whose failure may be temporary."
    )
    auto_retry_seconds: Seconds = Field(600, ge=0, description="Delay before each automatic retry.")
    request_deadline_seconds: Seconds = Field(
        7 * 86_400,
        gt=0,
        description="Time after its upload or last retry at which an open request ends with the results it has.",
    )

    retention_days: float | None = Field(
        None, gt=0, description="Days after which a finished request and its files are deleted. Empty: never."
    )

    # Webhooks.
    webhook_secret: SecretStr | None = Field(
        None, description="`whsec_…`: secret that signs webhooks; during a rotation two, separated by a comma."
    )
    webhook_retry_delays: Annotated[tuple[float, ...], NoDecode] = Field(
        (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Delays before each retry of a webhook: seconds, comma-separated.",
    )
    webhook_timeout_seconds: Seconds = Field(15, gt=0, description="Deadline for one attempt of a webhook.")

    # Client.
    api_key: SecretStr | None = Field(
        None, description="`gip_…`: API key that the client commands, such as `gql-imgproc submit`, send to a service."
    )

    # Metrics.
    metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port on which the first worker process of a machine serves metrics; each further process uses "
        "the next free port. 0: no metrics of workers. The API serves its own at `/metrics`.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="IP address on which worker processes serve metrics. Anyone who can reach it can read them.",
    )

    # Logs.
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum severity of the lines written."
    )
    log_format: Literal["console", "json"] = Field("console", description="Format of the log lines on standard error.")

    # Deprecated.
    window: str = Field("", description=_USE_IMAGES_IN_FLIGHT)
    worker_threads: str = Field("", description=_USE_IMAGES_IN_FLIGHT)
    fetch_concurrency: str = Field("", description=_USE_IMAGES_IN_FLIGHT)
    turn_seconds: str = Field("", description="Deprecated, without effect: remove it.")
    poll_seconds: str = Field("", description="Deprecated, without effect: remove it.")

    @field_validator("fetch_allow_networks", "trusted_proxies", mode="before")
    @classmethod
    def _parse_networks(cls, value: Any) -> Any:
        return settings_types.parse_networks(value) if isinstance(value, str) else value

    @field_validator("fetch_allow_ports", mode="before")
    @classmethod
    def _parse_ports(cls, value: Any) -> Any:
        return settings_types.parse_ports(value) if isinstance(value, str) else value

    @field_validator("retry_delays", "webhook_retry_delays", mode="before")
    @classmethod
    def _parse_delays(cls, value: Any) -> Any:
        return settings_types.parse_delays(value) if isinstance(value, str) else value

    @field_validator("rate_operations", "rate_uploads", "rate_subscriptions", "rate_failures")
    @classmethod
    def _check_rate(cls, value: str) -> str:
        settings_types.parse_rate(value)
        return value

    @field_validator("worker_memory_bytes")
    @classmethod
    def _check_worker_memory(cls, value: ByteSize) -> ByteSize:
        if 0 < value < _MIN_WORKER_MEMORY:
            raise ValueError("use 2 GiB or more, or 0 for no limit: a worker itself uses about 1.5 GiB")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        return settings_types.check_database_url(value) if value else value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        return settings_types.check_redis_url(value)

    @field_validator("storage_url")
    @classmethod
    def _check_storage_url(cls, value: str) -> str:
        return settings_types.check_storage_url(value) if value else value

    @field_validator("storage_public_endpoint")
    @classmethod
    def _check_public_endpoint(cls, value: str) -> str:
        return settings_types.check_endpoint(value) if value else value

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        return settings_types.check_public_url(value)

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            settings_types.check_webhook_secret(value.get_secret_value())
        return value

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            settings_types.check_api_key(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_endpoint_has_store(self) -> Self:
        if self.storage_public_endpoint and not self.storage_url.startswith("s3://"):
            raise ValueError("IMGPROC_STORAGE_PUBLIC_ENDPOINT: requires an IMGPROC_STORAGE_URL of the form `s3://…`")
        return self

    def log_deprecations(self) -> None:
        """Logs a warning for each setting in use that no longer has an effect."""
        for name in filter(self.is_set, DEPRECATED):
            log.warning("IMGPROC_%s: %s", name.upper(), type(self).model_fields[name].description)

    def is_set(self, name: str) -> bool:
        """Whether the setting has an explicit value; otherwise its default applies."""
        return name in self.model_fields_set

    @cached_property
    def database(self) -> str:
        """The effective database URL."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'imgproc.db').absolute()}"

    @cached_property
    def storage(self) -> str:
        """The effective URL of the object store."""
        return self.storage_url or (self.data_dir / "objects").absolute().as_uri()


def load(**overrides: Any) -> Settings:
    """Reads the settings. Raises ConfigurationError with one line that names each invalid variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(settings_errors.format_settings_errors(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file .env cannot be read as UTF-8 text: {error}") from None
