from __future__ import annotations

from pathlib import Path

import pytest

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.standalone.preflight import anonymous_policy, check_keys
from tests.support.api_keys import given_key
from tests.support.databases import create_sqlite


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_loopback_needs_no_key_until_one_exists(host: str, database_url: str) -> None:
    anonymous = anonymous_policy(host, allow_anonymous=False)

    check_keys(database_url, host, anonymous)
    assert anonymous is AnonymousAccess.WHILE_NO_KEY
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "example.org", "::ffff:0.0.0.0", "0"])
def test_other_hosts_need_a_key_unless_anonymous_access_is_allowed(host: str, tmp_path: Path) -> None:
    url = create_sqlite(tmp_path / "test.db")
    anonymous = anonymous_policy(host, allow_anonymous=False)
    with pytest.raises(
        ConfigurationError, match=r"`gql-imgproc keys create --name NAME`, .+, or add --allow-anonymous"
    ):
        check_keys(url, host, anonymous)
    database = Database(url)
    given_key(database)
    database.close()

    check_keys(url, host, anonymous)
    assert anonymous is AnonymousAccess.NEVER
    assert anonymous_policy(host, allow_anonymous=True) is AnonymousAccess.ALWAYS
    assert not is_loopback(host)
