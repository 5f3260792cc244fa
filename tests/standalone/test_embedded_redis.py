from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from redis import Redis

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import embedded_redis
from gql_imgproc.standalone.supervisor import ChildProcess, stop


async def test_embedded_redis_is_private_and_leaves_no_files() -> None:
    with embedded_redis.prepare() as embedded:
        child = ChildProcess(embedded.program)
        try:
            await embedded.wait_until_ready(child)
            with Redis.from_url(embedded.url) as client:
                assert client.config_get("port") == {"port": "0"}
                assert client.config_get("save") == {"save": ""}
                assert client.config_get("appendonly") == {"appendonly": "no"}
            folder = Path(embedded.url.removeprefix("unix://")).parent
            assert folder.stat().st_mode & 0o777 == 0o700
        finally:
            await stop([child], 5, at_once=asyncio.Event())
    assert not folder.exists()


def test_server_on_path_is_preferred_to_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded_redis.find_server() == tmp_path / "valkey-server"


def test_missing_server_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(
        ConfigurationError, match=r"apt-get install redis-server.*brew install valkey.*IMGPROC_REDIS_URL"
    ):
        embedded_redis.find_server()


def test_socket_path_is_short_even_with_a_long_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(embedded_redis.tempfile, "tempdir", str(long))

    with embedded_redis.prepare() as embedded:
        assert len(os.fsencode(embedded.url.removeprefix("unix://"))) <= 103

    assert list(long.iterdir()) == []


def test_connection_error_hides_the_password() -> None:
    with pytest.raises(ConfigurationError) as error:
        embedded_redis.check("redis://user:secret@127.0.0.1:1/0")

    assert "Cannot connect to Redis at redis://user:***@127.0.0.1:1/0: " in str(error.value)
    assert "secret" not in str(error.value)
