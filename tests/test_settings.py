"""Settings are read once, and nonsense is refused in one line that names the variable."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import load


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
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


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMGPROC_WINDOW", "0"),
        ("IMGPROC_LEASE_SECONDS", "soon"),
        ("IMGPROC_FETCH_ALLOW_NETWORKS", "localhost"),
        ("IMGPROC_RETRY_DELAYS", "1,-1"),
        ("IMGPROC_DATABASE_URL", "mysql://x"),
        ("IMGPROC_REDIS_URL", "localhost:6379"),
        ("IMGPROC_PUBLIC_URL", "example.com"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ConfigurationError, match=f"^{variable}: [^\n]+$"):
        load()
