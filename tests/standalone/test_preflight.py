from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.standalone.preflight import anonymous_policy, check_keys, check_port, reachable_url_of, url_of
from tests.support.api_keys import given_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_on_this_machine_nobody_is_asked_for_a_key_until_there_is_one(host: str, database_url: str) -> None:
    anonymous = anonymous_policy(host, allow_anonymous=False)

    check_keys(database_url, host, anonymous)
    assert anonymous is AnonymousAccess.WHILE_NO_KEY
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "example.org", "::ffff:0.0.0.0", "0"])
def test_other_machines_need_a_key_unless_that_is_said_aloud(host: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(url)
    anonymous = anonymous_policy(host, allow_anonymous=False)
    with pytest.raises(ConfigurationError, match=r"`gql-imgproc keys create`, or add --allow-anonymous"):
        check_keys(url, host, anonymous)
    database = Database(url)
    given_key(database)
    database.close()

    check_keys(url, host, anonymous)
    assert anonymous is AnonymousAccess.NEVER
    assert anonymous_policy(host, allow_anonymous=True) is AnonymousAccess.ALWAYS
    assert not is_loopback(host)


def test_a_port_in_use_is_told_and_a_free_one_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ConfigurationError, match=f"Cannot listen on 127.0.0.1 port {port}: Address already in use"):
            check_port("127.0.0.1", port)

    assert check_port("127.0.0.1", port) == port
    assert check_port("127.0.0.1", 0) > 0


def test_a_host_that_is_not_ours_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot listen on 192\.0\.2\.1 port 8000"):
        check_port("192.0.2.1", 8000)


def test_addresses() -> None:
    assert url_of("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert url_of("::1", 80) == "http://[::1]:80"
    assert reachable_url_of("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert reachable_url_of("::", 80) == "http://[::1]:80"
