from __future__ import annotations

import socket

import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone.server_address import check_port, reachable_url, server_url
from tests.support.free_port import free_port


def test_port_in_use_is_reported_and_port_zero_finds_a_free_one() -> None:
    port = free_port()
    in_use = f"Cannot listen on 127.0.0.1 port {port}: .* already in use"
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigurationError, match=in_use):
        check_port("127.0.0.1", port)

    assert check_port("127.0.0.1", port) == port
    assert check_port("127.0.0.1", 0) > 0


def test_ip_of_another_machine_is_reported() -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.1 port 8000"):
        check_port("192.0.2.1", 8000)


def test_unknown_host_name_is_reported_with_its_option() -> None:
    with pytest.raises(
        ConfigurationError, match=r"Cannot listen on no-such-host\.invalid port 8000: .*with --host: an"
    ):
        check_port("no-such-host.invalid", 8000)


def test_urls_bracket_ipv6_and_replace_wildcards() -> None:
    assert server_url("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert server_url("::1", 80) == "http://[::1]:80"
    assert reachable_url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert reachable_url("::", 80) == "http://[::1]:80"
