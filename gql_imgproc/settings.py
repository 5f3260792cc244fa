"""Settings: environment variables with the prefix `IMGPROC_`, also from an `.env` file.

This file has the default, the unit and the reason of each setting; a test compares the table in the docs with it.
An entry point reads the settings once and passes them down.
"""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gql_imgproc import settings_errors
from gql_imgproc import settings_types as types
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.host_headers import HostRule
from gql_imgproc.settings_files import EnvFileSource, EnvironmentSource
from gql_imgproc.settings_hosts import read_host_rules
from gql_imgproc.settings_types import MiB, Seconds, SecondsOrZero, Size, SizeOrZero

log = logging.getLogger(__name__)

#: Settings that are accepted and no longer have an effect. The description of each says what to do.
DEPRECATED = ("window", "worker_threads", "fetch_concurrency", "turn_seconds", "poll_seconds")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="IMGPROC_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    # Locations.
    data_dir: Path = Path("data")
    """Folder for the SQLite database and the local object store."""
    database_url: types.DatabaseUrl = ""
    """`sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`. Empty: `imgproc.db` in the data
    folder."""
    database_connections: Annotated[int, Field(ge=2, le=1_000)] = 6
    """Database connections per process; each transaction uses one."""
    database_prepare: bool = True
    """Use prepared statements with PostgreSQL. Set to `false` behind PgBouncer before 1.22 in transaction mode."""
    redis_url: types.RedisUrl = "redis://127.0.0.1:6379/0"
    """Redis or Valkey. If not set, `up` and `demo` start an embedded Redis."""
    storage_url: types.StorageUrl = ""
    """`file:///PATH`, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Empty: `objects` in the data folder."""
    storage_redirects: Literal["auto", "on", "off"] = "auto"
    """Redirect browsers to signed URLs of the bucket for images and output CSVs. `auto`: unless the endpoint looks
    like one in a private network."""
    storage_public_endpoint: types.Endpoint = ""
    """Endpoint of an `s3://` store for browsers, if they cannot reach the service's own endpoint."""
    public_url: types.PublicUrl = "http://127.0.0.1:8000"
    """Base of every URL that the service returns. Default: the URL that `up` or `api` listens on. On loopback they
    accept only its host and the names of this machine as the `Host` header."""

    # Allowed destinations.
    fetch_allow_networks: types.Networks = ()
    """Non-public networks that images may be fetched from and webhooks sent to: CIDRs, comma-separated."""
    fetch_allow_ports: types.Ports = frozenset({80, 443})
    """Ports that may be connected to, comma-separated; `*` for any."""

    # Limits on input.
    max_upload_bytes: Size = ByteSize(20 * MiB)
    """Maximum size of an uploaded CSV file or workbook, in bytes."""
    max_products: PositiveInt = 100_000
    """Maximum number of data rows in a CSV file."""
    max_images: PositiveInt = 500_000
    """Maximum number of image URLs in a CSV file."""
    max_columns: Annotated[int, Field(ge=3)] = 100
    """Maximum number of columns in a CSV file."""
    max_field_chars: PositiveInt = 250_000
    """Maximum length of a CSV cell, in characters; 100 URLs of 2,048 characters fit."""
    max_image_bytes: Size = ByteSize(30 * MiB)
    """Maximum size of a downloaded image, in bytes."""
    max_image_pixels: PositiveInt = 50_000_000
    """Maximum size of a decoded image, in pixels. All frames of an animation together may have four times as
    many."""
    max_query_cost: PositiveInt = 5_000
    """Maximum cost of one GraphQL operation. 5,000 needs up to 0.2 s of CPU."""

    # Rate limits and quotas.
    rate_operations: types.Rate = "600/minute"
    """Rate limit for GraphQL operations per API key, or per IP address without a key, such as `60/minute`,
    `10/second`, `5 per 2 hours`. 0: no limit."""
    rate_uploads: types.Rate = "60/minute"
    """Rate limit for uploads. An upload also counts as an operation."""
    rate_subscriptions: types.Rate = "300/minute"
    """Rate limit for starting subscriptions. A subscription also counts as an operation."""
    rate_sources: types.Rate = "300/minute"
    """Rate limit per tenant for source images that `/api/source` downloads again to compare them."""
    rate_keys_per_tenant: PositiveInt = 1
    """All API keys of a tenant together get this many times the rate limits of one key. 1: more keys give no more."""
    rate_failures: types.Rate = "10/minute"
    """Failed authentications allowed per IP address. Beyond that, unknown keys from it are rejected unchecked."""
    trusted_proxies: types.Networks = ()
    """Proxies whose `X-Forwarded-For` header is trusted: CIDRs, comma-separated."""
    quota_open_requests: NonNegativeInt = 100
    """Quota of open requests per tenant. 0: no limit."""
    quota_pending_images: NonNegativeInt = 2_000_000
    """Quota of unfinished images in the open requests of a tenant. 0: no limit."""
    quota_open_rows: NonNegativeInt = 2_000_000
    """Quota of rows in the open requests of a tenant. 0: no limit."""
    quota_stored_bytes: SizeOrZero = ByteSize(100 * 1024 * MiB)
    """Quota of stored bytes of images and files (uploads, outputs, reports) per tenant; beyond that, its uploads are
    refused until it deletes requests. 0: no limit."""
    quota_csv_bytes: SizeOrZero = ByteSize(0)
    """Maximum size of an uploaded file per tenant, in bytes. 0: `IMGPROC_MAX_UPLOAD_BYTES`."""

    # Visibility.
    introspection: Literal["auto", "on", "off"] = "auto"
    """Enable introspection and GraphiQL at `/graphql`. `auto`: only when listening on loopback."""
    trusted_documents: Path | None = None
    """JSON file of GraphQL documents by ID; the API then executes no others. Add the documents of the web page and of
    every client."""
    private_images: bool = False
    """Require an API key or a signed URL for `/api/image`. Otherwise anyone who has the URL of an image, which
    cannot be guessed, can open it."""
    signed_url_seconds: Seconds = 86_400
    """Lifetime of signed URLs, which work without an API key."""

    # Fetching.
    fetch_connect_seconds: Seconds = 5
    """Deadline for a connection to an image host."""
    fetch_first_byte_seconds: Seconds = 15
    """Maximum time that an image host sends no data."""
    fetch_total_seconds: Seconds = 60
    """Deadline for the download of one image, from first to last byte."""
    fetch_per_host: PositiveInt = 64
    """Concurrent downloads per image host, of all worker processes together."""
    fetch_hosts_file: types.HostsFile = None
    """TOML file with `User-Agent`, `Referer`, headers and credentials for image hosts, see
    [image hosts](OPERATIONS.md#image-hosts)."""
    fetch_proxy: types.ProxyUrl = ""
    """`http://USER:PASSWORD@HOST:PORT`: HTTP proxy for downloads of images. Webhooks do not use it. What it
    [means for security](SECURITY.md#settings-that-reduce-protection)."""
    host_patience_seconds: Seconds = 1_800
    """Time without any answer but refusals from an image host, after which its waiting images fail."""

    # Work.
    images_in_flight: PositiveInt = 32
    """Images in flight per worker process: those being downloaded, waiting, compressed and stored."""
    cpu_slots: NonNegativeInt = 0
    """Images decoded at once per worker process. 0: cores divided by worker processes."""
    fetched_bytes_in_flight: Size = ByteSize(256 * MiB)
    """Memory budget per worker process for downloaded images that wait to be decoded, in bytes. While it is used
    up, no download starts."""
    megapixels_in_flight: PositiveInt = 100
    """Memory budget per worker process for images being decoded, in megapixels."""
    worker_memory_bytes: types.WorkerMemory = ByteSize(4 * 1024 * MiB)
    """Virtual memory limit of a worker process, which itself uses about 1.5 GiB. An image that needs more fails,
    and the machine does not run out of memory. 0: no limit."""
    min_saving_percent: Annotated[float, Field(ge=0, lt=100)] = 5
    """A result that saves less than this, or less than 10 for AVIF, is dropped, and the original bytes are kept."""
    lease_seconds: Seconds = 15
    """Lease duration of a claimed image; the worker must renew it in time."""
    sweep_seconds: Seconds = 5
    """Interval of reconcile, which finds work that was lost and resumes it."""
    retry_delays: types.Delays = (1, 5, 30, 120)
    """Delays before each retry after a temporary failure: seconds, comma-separated."""
    auto_retries: NonNegativeInt = 3
    """Automatic retries of a finished request for images whose failure may be temporary."""
    auto_retry_seconds: SecondsOrZero = 600
    """Delay before each automatic retry."""
    request_deadline_seconds: Seconds = 7 * 86_400
    """Time after its upload or last retry at which an open request ends with the results it has."""
    retention_days: Annotated[float | None, Field(gt=0)] = None
    """Days after which a finished request and its files are deleted. Empty: never."""
    audit_retention_days: Annotated[float | None, Field(gt=0)] = None
    """Days after which an event of the audit log is deleted, if `gql-imgproc export-audit` has exported it. Empty:
    never."""

    # Webhooks.
    webhook_secret: types.WebhookSecret = None
    """`whsec_…`: secret that signs the webhooks of tenants without a secret of their own; during a rotation two,
    separated by a comma. Deprecated where there are several tenants: each of them can forge webhooks of the others."""
    secrets_key: types.SecretsKey = None
    """Key that encrypts the webhook secrets of tenants in the database: 32 random bytes in URL-safe base64; during a
    rotation two, the new one first, separated by a comma. API and workers need the same."""
    webhook_retry_delays: types.Delays = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    """Delays before each retry of a webhook: seconds, comma-separated."""
    webhook_timeout_seconds: Seconds = 15
    """Deadline for one attempt of a webhook."""

    # Client.
    api_key: types.ApiKey = None
    """`gip_…`: API key that the client commands, such as `gql-imgproc submit`, send to a service."""

    # Metrics.
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port on which the first worker process of a machine serves metrics; each further process uses the next free
    port. 0: no metrics of workers. The API serves its own at `/metrics`."""
    metrics_host: str = "127.0.0.1"
    """IP address on which worker processes serve metrics. Anyone who can reach it can read them."""

    # Logs.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum severity of the lines written."""
    log_format: Literal["console", "json"] = "console"
    """Format of the log lines on standard error."""

    # Deprecated.
    window: str = ""
    """Deprecated, without effect: use `IMGPROC_IMAGES_IN_FLIGHT`."""
    worker_threads: str = ""
    """Deprecated, without effect: use `IMGPROC_IMAGES_IN_FLIGHT`."""
    fetch_concurrency: str = ""
    """Deprecated, without effect: use `IMGPROC_IMAGES_IN_FLIGHT`."""
    turn_seconds: str = ""
    """Deprecated, without effect: remove it."""
    poll_seconds: str = ""
    """Deprecated, without effect: remove it."""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        env_file = EnvFileSource(cls, env_file=sources["dotenv_settings"].env_file)
        return sources["init_settings"], EnvironmentSource(cls), env_file

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
    def host_rules(self) -> tuple[HostRule, ...]:
        """The headers for image hosts."""
        return read_host_rules(self.fetch_hosts_file) if self.fetch_hosts_file else ()

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
