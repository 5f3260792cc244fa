"""Settings: parsing, and one line that names each invalid variable."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import Settings, load
from gql_imgproc.settings_files import FROM_FILE, MAX_BYTES


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPROC_FETCH_ALLOW_NETWORKS", "127.0.0.0/8, fd00::/8")
    monkeypatch.setenv("IMGPROC_FETCH_ALLOW_PORTS", "80,8080")
    monkeypatch.setenv("IMGPROC_RETRY_DELAYS", "0.5, 2")
    monkeypatch.setenv("IMGPROC_MAX_UPLOAD_BYTES", "1MiB")

    settings = load()

    assert settings.fetch_allow_networks == (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.fetch_allow_ports == {80, 8080}
    assert settings.retry_delays == (0.5, 2)
    assert settings.max_upload_bytes == 1024 * 1024


def test_any_port_may_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPROC_FETCH_ALLOW_PORTS", "*")

    assert load().fetch_allow_ports == "*"


PORTS = "use ports from 1 to 65535, separated by commas, or `*` for any"
DELAYS = "use seconds from 0 to 2592000 (30 days), separated by commas, such as `1,5,30`"
STORAGE = "use `file:///PATH` for a folder, or `s3://BUCKET/PREFIX`, `gs://…` or `az://…` for a bucket"
DATABASE = "use `sqlite:///PATH` with the path of a file, or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`"
PUBLIC = "use a URL such as `https://images.example` or `http://127.0.0.1:8000`"
ENDPOINT = "use a URL such as `https://s3.example` or `http://127.0.0.1:9000`"
REDIS = "use `redis://HOST:PORT/0`, `rediss://…` or `unix:///PATH`"


@pytest.mark.parametrize(
    ("variable", "value", "fix"),
    [
        ("IMAGES_IN_FLIGHT", "0", "use a number above 0"),
        ("IMAGES_IN_FLIGHT", "many", "use a whole number"),
        ("MAX_COLUMNS", "2", "use 3 or more"),
        ("MIN_SAVING_PERCENT", "100", "use a number below 100"),
        ("MAX_IMAGE_BYTES", "big", "use a size such as `20MiB`, or a number of bytes"),
        ("MAX_IMAGE_BYTES", "20 MiBs", "use a size such as `20MiB`, or a number of bytes"),
        ("LOG_LEVEL", "loud", "use `debug`, `info`, `warning` or `error`"),
        ("LEASE_SECONDS", "soon", "use a number"),
        ("SWEEP_SECONDS", "inf", "use a number"),
        ("SWEEP_SECONDS", "1e300", "use 31622400 or less"),
        ("FETCH_ALLOW_NETWORKS", "localhost", "use networks such as `10.0.0.0/8` or `fd00::/8`, separated by commas"),
        ("FETCH_ALLOW_PORTS", "99999", PORTS),
        ("FETCH_ALLOW_PORTS", "80,0", PORTS),
        ("FETCH_ALLOW_PORTS", ",", PORTS),
        ("FETCH_ALLOW_PORTS", "http", PORTS),
        ("RETRY_DELAYS", "1,-1", DELAYS),
        ("RETRY_DELAYS", "nan", DELAYS),
        ("WEBHOOK_RETRY_DELAYS", "5,inf", DELAYS),
        ("DATABASE_URL", "mysql://x", DATABASE),
        ("DATABASE_URL", "postgresql+psycopg://host:port/name", DATABASE),
        ("DATABASE_URL", "sqlite:///", DATABASE),
        ("DATABASE_URL", "sqlite:///:memory:", DATABASE),
        ("REDIS_URL", "localhost:6379", REDIS),
        ("REDIS_URL", "redis://localhost:port/0", REDIS),
        ("STORAGE_URL", "/tmp/x", STORAGE),
        ("STORAGE_URL", "foo://x", STORAGE),
        ("STORAGE_URL", "file://x", STORAGE),
        ("STORAGE_URL", "s3://", STORAGE),
        ("STORAGE_REDIRECTS", "maybe", "use `auto`, `on` or `off`"),
        ("STORAGE_PUBLIC_ENDPOINT", "minio:9000", ENDPOINT),
        ("STORAGE_PUBLIC_ENDPOINT", "ftp://minio", ENDPOINT),
        ("PUBLIC_URL", "example.com", PUBLIC),
        ("PUBLIC_URL", "http://", PUBLIC),
        ("PUBLIC_URL", "http:///path", PUBLIC),
        ("PUBLIC_URL", "http://a b/", PUBLIC),
        ("PUBLIC_URL", "http://a:port/", PUBLIC),
    ],
)
def test_an_invalid_value_is_refused_in_one_line_with_variable_value_and_fix(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, fix: str
) -> None:
    monkeypatch.setenv(f"IMGPROC_{variable}", value)

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == f"IMGPROC_{variable}: `{value}` cannot be used: {fix}"


def test_every_invalid_setting_is_reported() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(images_in_flight=0, public_url="x")

    assert str(refused.value) == (
        f"IMGPROC_PUBLIC_URL: `x` cannot be used: {PUBLIC}; "
        "IMGPROC_IMAGES_IN_FLIGHT: `0` cannot be used: use a number above 0"
    )


def test_contradicting_settings_are_reported() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(storage_url="gs://bucket", storage_public_endpoint="https://images.example")

    assert str(refused.value) == "IMGPROC_STORAGE_PUBLIC_ENDPOINT: requires an IMGPROC_STORAGE_URL of the form `s3://…`"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("postgresql://user:sec@ret@host/name", "postgresql://***@host/name"),
        ("postgres://host/name?user=u&password=secret", "postgres://host/name?***"),
        ("user:secret@host", "***@host"),
        ("x\x1b[2J", "x\ufffd[2J"),
        ("x" * 81, "x" * 80 + "…"),
    ],
)
def test_a_value_is_reported_without_its_secrets(value: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(database_url=value)

    assert str(refused.value) == f"IMGPROC_DATABASE_URL: `{shown}` cannot be used: {DATABASE}"


@pytest.mark.parametrize("secret", ["xx", "whsec_!!", "whsec_c2VjcmV0"])
def test_an_invalid_webhook_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET", secret)

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == (
        "IMGPROC_WEBHOOK_SECRET: A webhook secret (IMGPROC_WEBHOOK_SECRET, or --secret) must be `whsec_` and at least "
        "16 random bytes in base64. Generate one with `echo whsec_$(head -c 32 /dev/urandom | base64)`"
    )


@pytest.mark.parametrize("key", ["xx", f"{'A' * 43}=,short", f"{'ä' * 43}=", ","])
def test_an_invalid_secrets_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("IMGPROC_SECRETS_KEY", key)

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == (
        "IMGPROC_SECRETS_KEY: Each key must be 32 random bytes in URL-safe base64. "
        "Generate one with `head -c 32 /dev/urandom | base64 | tr '+/' '-_'`"
    )


def test_a_webhook_secret_of_only_commas_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET", ",")

    with pytest.raises(ConfigurationError, match=r"^IMGPROC_WEBHOOK_SECRET: Contains no key"):
        load()


@pytest.mark.parametrize(
    "key", ["xx", f"gip_{'a' * 12}_{'b' * 39}", f"whsec_{'A' * 32}", f"gip_{'a' * 12}_{'b' * 40}…"]
)
def test_an_invalid_api_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("IMGPROC_API_KEY", key)

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == (
        "IMGPROC_API_KEY: Not an API key, which starts with gip_. Check that the complete key was copied"
    )


@pytest.mark.parametrize(
    "url",
    ["file:///srv/a#b", "file:///srv/a?b", "s3://bucket/a?region=b", "s3://bucket/a#b", "s3://KEY:SECRET@bucket/a"],
)
def test_a_store_url_with_query_fragment_or_user_info_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(storage_url=url)

    assert str(refused.value).startswith("IMGPROC_STORAGE_URL: ")
    assert "SECRET" not in str(refused.value)


def test_valid_values_are_accepted() -> None:
    for url in ("file:///srv/objects", "s3://bucket", "s3://bucket/prefix", "gs://bucket/a/b", "az://container"):
        assert load(storage_url=url).storage == url
    assert load(public_url="http://[::1]:8000/base/").public_url == "http://[::1]:8000/base"
    assert load(retry_delays=",").retry_delays == ()
    assert load(webhook_secret=f"whsec_{'A' * 32}, whsec_{'B' * 32}").webhook_secret is not None


SECRET = f"whsec_{'A' * 32}"


def test_every_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file with each secret, as an editor or `echo` writes it,
    secrets = {
        "DATABASE_URL": "postgresql+psycopg://user:p#w@host/name",
        "REDIS_URL": "rediss://:password@host:6379/0",
        "FETCH_PROXY": "http://user:p%40w@proxy:3128",
        "WEBHOOK_SECRET": f"{SECRET},whsec_{'B' * 32}",
        "SECRETS_KEY": f"{'A' * 43}=, {'B' * 42}A=",
        "API_KEY": f"gip_{'a' * 12}_{'b' * 40}",
    }
    for name, value in secrets.items():
        Path(name).write_text(f"{value}\n")
        monkeypatch.setenv(f"IMGPROC_{name}_FILE", name)

    settings = load()

    assert settings.database_url == secrets["DATABASE_URL"]
    assert settings.redis_url == secrets["REDIS_URL"]
    assert settings.is_set("redis_url")
    assert settings.fetch_proxy == secrets["FETCH_PROXY"]
    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == secrets["WEBHOOK_SECRET"]
    assert settings.secrets_key is not None
    assert settings.secrets_key.get_secret_value() == secrets["SECRETS_KEY"]
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == secrets["API_KEY"]
    assert {name.upper() for name, field in Settings.model_fields.items() if FROM_FILE in field.metadata} == set(
        secrets
    )


def test_env_file_may_name_a_file_and_the_environment_has_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_text(f"\n{SECRET}\r\n")
    Path(".env").write_text("IMGPROC_WEBHOOK_SECRET_FILE=secret\nIMGPROC_REDIS_URL_FILE=absent\n")
    monkeypatch.setenv("IMGPROC_REDIS_URL", "redis://host/0")

    settings = load()

    assert settings.webhook_secret is not None
    assert settings.webhook_secret.get_secret_value() == SECRET
    assert settings.redis_url == "redis://host/0"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "The file cannot be read: No such file or directory"),
        (b"", "The file is empty"),
        (b" \n", "The file is empty"),
        (b"\xff", "The file is not UTF-8 text"),
        (b"x" * (MAX_BYTES + 1), "The file is larger than 64 KiB"),
        (b"whsec_c2VjcmV0", "A webhook secret (IMGPROC_WEBHOOK_SECRET, or --secret) must be `whsec_` and at least "),
        (b",", "Contains no key. Unset the variable to send unsigned webhooks"),
    ],
)
def test_an_invalid_secret_file_is_refused_in_one_line_without_its_content(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, error: str
) -> None:
    if content is not None:
        Path("secret").write_bytes(content)
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET_FILE", "secret")

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value).startswith(f"IMGPROC_WEBHOOK_SECRET_FILE: {error}")
    assert "\n" not in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)


def test_an_invalid_url_in_a_file_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("url").write_text("postgresql+psycopg://user:password@host:port/name")
    monkeypatch.setenv("IMGPROC_DATABASE_URL_FILE", "url")
    monkeypatch.setenv("IMGPROC_LOG_LEVEL", "loud")

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == (
        f"IMGPROC_DATABASE_URL_FILE: {DATABASE}; "
        "IMGPROC_LOG_LEVEL: `loud` cannot be used: use `debug`, `info`, `warning` or `error`"
    )


def test_a_secret_in_place_of_a_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET_FILE", SECRET)

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == "IMGPROC_WEBHOOK_SECRET_FILE: The file cannot be read: No such file or directory"


def test_a_secret_and_its_file_are_refused_together(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_text(SECRET)
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("IMGPROC_WEBHOOK_SECRET_FILE", "secret")

    with pytest.raises(ConfigurationError) as refused:
        load()

    assert str(refused.value) == "IMGPROC_WEBHOOK_SECRET_FILE: IMGPROC_WEBHOOK_SECRET is set too. Unset one of them"


def test_a_setting_without_a_secret_is_not_read_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("level").write_text("debug")
    monkeypatch.setenv("IMGPROC_LOG_LEVEL_FILE", "level")

    assert load().log_level == "info"


def test_a_binary_env_file_is_refused_in_one_line() -> None:
    Path(".env").write_bytes(b"IMGPROC_IMAGES_IN_FLIGHT=\xff\n")

    with pytest.raises(ConfigurationError, match=r"^The file \.env cannot be read as UTF-8 text: "):
        load()


def test_setting_without_an_effect_is_accepted_with_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMGPROC_WINDOW", "64")
    monkeypatch.setenv("IMGPROC_TURN_SECONDS", "0.5")

    load().log_deprecations()

    assert [record.getMessage() for record in caplog.records] == [
        "IMGPROC_WINDOW: Deprecated, without effect: use `IMGPROC_IMAGES_IN_FLIGHT`.",
        "IMGPROC_TURN_SECONDS: Deprecated, without effect: remove it.",
    ]
