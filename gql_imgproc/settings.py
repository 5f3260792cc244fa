"""Settings: environment variables with the prefix `IMGPROC_`, also from an `.env` file.

Each setting states its default, its unit and its reason here and nowhere else; the README's table is tested
against this file. Settings are read once, at a door, and handed down.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ByteSize, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gql_imgproc import settings_errors, settings_types
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings_types import Network

MiB = 1024 * 1024
#: A duration: with more than a year, sums of dates would leave the calendar.
Seconds = Annotated[float, Field(le=366 * 86_400)]
#: Libraries, stacks and heaps of a worker's threads are mapped, though hardly used, before the first picture.
_LEAST_WORKER_MEMORY = 2048 * MiB


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        env_prefix="IMGPROC_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    # Where things are.
    data_dir: Path = Field(Path("data"), description="Folder for the SQLite database and the local object store.")
    database_url: str = Field(
        "",
        description="`sqlite:///PATH` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`. "
        "Empty: `imgproc.db` in the data folder.",
    )
    database_connections: int = Field(
        6, ge=2, le=1_000, description="Connections to the database, and transactions at once, per process."
    )
    database_prepare: bool = Field(
        True,
        description="Whether PostgreSQL keeps the plans of statements. "
        "`false` behind a PgBouncer before 1.22 in transaction mode.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey. `up` and `demo` start their own when it is not set.",
    )
    storage_url: str = Field(
        "",
        description="`file:///PATH`, `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Empty: `objects` in the data folder.",
    )
    storage_redirects: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether browsers fetch pictures and output CSVs from the bucket itself, by signed addresses. "
        "`auto`: unless its endpoint looks like one that only a private network reaches.",
    )
    storage_public_endpoint: str = Field(
        "", description="Endpoint at which browsers reach the store of an `s3://` address, when it is not ours."
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        description="Base of every address handed out. When not set, `up` and `api` use where they listen. "
        "On loopback they answer to its host and to names of this machine only.",
    )

    # What may be fetched and called.
    fetch_allow_networks: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="CIDRs, comma-separated, that may be fetched from and called although they are not public.",
    )
    fetch_allow_ports: Annotated[frozenset[int] | Literal["*"], NoDecode] = Field(
        frozenset({80, 443}), description="Ports, comma-separated, that may be connected to; `*` for any."
    )

    # Limits on input.
    max_upload_bytes: ByteSize = Field(ByteSize(20 * MiB), gt=0, description="Largest CSV file, in bytes.")
    max_products: int = Field(100_000, gt=0, description="Largest number of data rows in a CSV file.")
    max_images: int = Field(500_000, gt=0, description="Largest number of picture addresses in a CSV file.")
    max_columns: int = Field(100, ge=3, description="Largest number of columns in a CSV file.")
    max_field_chars: int = Field(
        250_000, gt=0, description="Longest cell of a CSV file, in characters; 100 addresses of 2,048 fit."
    )
    max_image_bytes: ByteSize = Field(ByteSize(30 * MiB), gt=0, description="Largest picture fetched, in bytes.")
    max_image_pixels: int = Field(
        50_000_000,
        gt=0,
        description="Largest picture decoded, in pixels; "
        "all frames of an animation together may have four times as many.",
    )
    max_query_cost: int = Field(
        5_000,
        gt=0,
        description="Largest cost of one GraphQL operation; one of 5,000 takes up to 0.2 s of CPU.",
    )

    # How much of it: for callers with an API key, and for those whom others can be.
    rate_operations: str = Field(
        "600/minute",
        description="How often a key, or an address without one, may send a GraphQL operation, such as `60/minute`, "
        "`10/second`, `5 per 2 hours`. 0: no limit.",
    )
    rate_uploads: str = Field("60/minute", description="The same of uploads, each of which is an operation too.")
    rate_subscriptions: str = Field(
        "300/minute", description="The same of the beginnings of subscriptions, each of which is an operation too."
    )
    rate_failures: str = Field(
        "10/minute",
        description="How often one address may present an API key that is not good; "
        "then no key that is not known to be good is looked at from there.",
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="CIDRs, comma-separated, of proxies whose `X-Forwarded-For` tells who calls.",
    )
    quota_open_requests: int = Field(100, ge=0, description="Requests that a tenant may have open. 0: no limit.")
    quota_pending_images: int = Field(
        2_000_000, ge=0, description="Pictures of open requests of a tenant that have not ended. 0: no limit."
    )
    quota_stored_bytes: ByteSize = Field(
        ByteSize(100 * 1024 * MiB),
        ge=0,
        description="Bytes of compressed pictures that a tenant may store; "
        "beyond, no upload of it is taken until it deletes some. 0: no limit.",
    )
    quota_csv_bytes: ByteSize = Field(
        ByteSize(0), ge=0, description="Largest CSV file of a tenant, in bytes. 0: that of `IMGPROC_MAX_UPLOAD_BYTES`."
    )

    # What strangers may see.
    introspection: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether GraphQL tells its schema and GraphiQL is at `/graphql`. "
        "`auto`: while `up` and `api` listen for this machine alone.",
    )

    private_images: bool = Field(
        False,
        description="Whether `/api/image` asks for an API key, or a signed address, too. "
        "Otherwise who knows a picture's address, which nobody can guess, may see it.",
    )
    signed_url_seconds: Seconds = Field(
        86_400,
        gt=0,
        description="How long addresses that are handed to callers with an API key open without it.",
    )

    # Fetching.
    fetch_connect_seconds: Seconds = Field(5, gt=0, description="Deadline for a connection to a picture's host.")
    fetch_first_byte_seconds: Seconds = Field(15, gt=0, description="Longest silence of a picture's host.")
    fetch_total_seconds: Seconds = Field(60, gt=0, description="Deadline for one picture from first to last byte.")
    fetch_concurrency: int = Field(32, gt=0, description="Downloads in flight per worker process.")
    fetch_per_host: int = Field(16, gt=0, description="Downloads in flight per worker process and host.")

    # Work.
    worker_threads: int = Field(
        32,
        gt=0,
        description="Products in flight per worker process and priority; "
        "one request has three quarters of them at most.",
    )
    poll_seconds: Seconds = Field(
        0.1,
        ge=0.01,
        le=10,
        description="How often a worker process looks at each empty queue. "
        "With very many processes it may be longer: the first one that looks is soon enough.",
    )
    cpu_slots: int = Field(
        0, ge=0, description="Pictures decoded at once per worker process. 0: cores divided by worker processes."
    )
    fetched_bytes_in_flight: ByteSize = Field(
        ByteSize(256 * MiB),
        gt=0,
        description="Fetched pictures that wait to be decoded per worker process, in bytes; "
        "while there are more, nothing is fetched.",
    )
    megapixels_in_flight: int = Field(100, gt=0, description="Megapixels decoded at once per worker process.")
    worker_memory_bytes: ByteSize = Field(
        ByteSize(4 * 1024 * MiB),
        ge=0,
        description="Address space of one worker process, of which about 1.5 GiB is its own; "
        "a picture that needs more fails instead of the machine. 0: no limit.",
    )
    min_saving_percent: float = Field(
        5,
        ge=0,
        lt=100,
        description="A result that saves less than this is dropped and the source's bytes are kept.",
    )
    window: int = Field(32, gt=0, description="Products of one request in flight over all workers.")
    turn_seconds: Seconds = Field(
        0.5, ge=0, description="How long a worker thread stays with one request before others have their turn."
    )
    lease_seconds: Seconds = Field(15, gt=0, description="How long a claimed product is its worker's without renewal.")
    sweep_seconds: Seconds = Field(5, gt=0, description="Pause between two sweeps for work that was forgotten.")
    retry_delays: Annotated[tuple[float, ...], NoDecode] = Field(
        (1, 5, 30, 120),
        description="Seconds, comma-separated, before each new try after a temporary failure.",
    )
    auto_retries: int = Field(
        3, ge=0, description="Rounds in which failures that may be temporary are tried again after a request ended."
    )
    auto_retry_seconds: Seconds = Field(600, ge=0, description="Pause before each such round.")
    request_deadline_seconds: Seconds = Field(
        7 * 86_400,
        gt=0,
        description="A request that is open so long after its upload, or its last retry, ends with what it has.",
    )

    retention_days: float | None = Field(
        None, gt=0, description="A request and all it stored is deleted so many days after its end. Empty: never."
    )

    # Webhooks.
    webhook_secret: SecretStr | None = Field(
        None, description="`whsec_…`: key that signs webhooks; during rotation two, separated by a comma."
    )
    webhook_retry_delays: Annotated[tuple[float, ...], NoDecode] = Field(
        (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Seconds, comma-separated, before each new try of a webhook.",
    )
    webhook_timeout_seconds: Seconds = Field(15, gt=0, description="Deadline for one try of a webhook.")

    # Calling a service.
    api_key: SecretStr | None = Field(
        None, description="`gip_…`: API key with which `gql-imgproc submit` calls a service that asks for one."
    )

    # Seen.
    metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port at which the first worker process of a machine shows its metrics, each further one at the "
        "next port that is free. 0: none; those of the API are at `/metrics`.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address at which worker processes show their metrics. Another than a loopback address lets "
        "whoever reaches it read them.",
    )

    # Logs.
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line written.")
    log_format: Literal["console", "json"] = Field("console", description="Form of the log lines on standard error.")

    @field_validator("fetch_allow_networks", "trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return settings_types.networks(value) if isinstance(value, str) else value

    @field_validator("fetch_allow_ports", mode="before")
    @classmethod
    def _ports(cls, value: Any) -> Any:
        return settings_types.ports(value) if isinstance(value, str) else value

    @field_validator("retry_delays", "webhook_retry_delays", mode="before")
    @classmethod
    def _delays(cls, value: Any) -> Any:
        return settings_types.delays(value) if isinstance(value, str) else value

    @field_validator("rate_operations", "rate_uploads", "rate_subscriptions", "rate_failures")
    @classmethod
    def _rate(cls, value: str) -> str:
        settings_types.rate(value)
        return value

    @field_validator("worker_memory_bytes")
    @classmethod
    def _room_to_work(cls, value: ByteSize) -> ByteSize:
        if 0 < value < _LEAST_WORKER_MEMORY:
            raise ValueError("use 2 GiB or more, or 0 for no limit: a worker itself takes about 1.5 GiB")
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        return settings_types.database_url(value) if value else value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str) -> str:
        return settings_types.redis_url(value)

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str) -> str:
        return settings_types.storage_url(value) if value else value

    @field_validator("storage_public_endpoint")
    @classmethod
    def _public_endpoint(cls, value: str) -> str:
        return settings_types.endpoint(value) if value else value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        return settings_types.public_url(value)

    @field_validator("webhook_secret")
    @classmethod
    def _secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            settings_types.webhook_secret(value.get_secret_value())
        return value

    @field_validator("api_key")
    @classmethod
    def _api_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            settings_types.api_key(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _host_share_fits(self) -> Self:
        if self.fetch_per_host > self.fetch_concurrency:
            raise ValueError("IMGPROC_FETCH_PER_HOST: cannot be larger than IMGPROC_FETCH_CONCURRENCY")
        return self

    @model_validator(mode="after")
    def _endpoint_has_a_store(self) -> Self:
        if self.storage_public_endpoint and not self.storage_url.startswith("s3://"):
            raise ValueError("IMGPROC_STORAGE_PUBLIC_ENDPOINT: is for an IMGPROC_STORAGE_URL of `s3://…` only")
        return self

    def is_set(self, name: str) -> bool:
        """Whether somebody chose a value; otherwise the default is in force."""
        return name in self.model_fields_set

    @cached_property
    def database(self) -> str:
        """Address of the database in force."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'imgproc.db').absolute()}"

    @cached_property
    def storage(self) -> str:
        """Address of the object store in force."""
        return self.storage_url or (self.data_dir / "objects").absolute().as_uri()


def load(**overrides: Any) -> Settings:
    """Reads the settings; raises ConfigurationError with one line that names each variable at fault."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(settings_errors.format_settings_errors(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The file .env cannot be read as UTF-8 text: {error}") from None
