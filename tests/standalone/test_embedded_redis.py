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


async def test_our_own_redis_is_private_keeps_nothing_and_leaves_nothing() -> None:
    with embedded_redis.embedded() as own:
        child = ChildProcess(own.program)
        try:
            await own.until_ready(child)
            with Redis.from_url(own.url) as client:
                assert client.config_get("port") == {"port": "0"}
                assert client.config_get("save") == {"save": ""}
                assert client.config_get("appendonly") == {"appendonly": "no"}
            folder = Path(own.url.removeprefix("unix://")).parent
            assert folder.stat().st_mode & 0o777 == 0o700
        finally:
            await stop([child], 5, at_once=asyncio.Event())
    assert not folder.exists()


def test_a_server_on_the_path_comes_before_the_packaged_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert embedded_redis.find_server() == tmp_path / "valkey-server"


def test_without_any_server_the_message_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(embedded_redis.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(
        ConfigurationError, match=r"apt-get install redis-server.*brew install valkey.*IMGPROC_REDIS_URL"
    ):
        embedded_redis.find_server()


def test_the_socket_fits_however_long_the_name_of_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(embedded_redis.tempfile, "tempdir", str(long))

    with embedded_redis.embedded() as own:
        assert len(os.fsencode(own.url.removeprefix("unix://"))) <= 103

    assert list(long.iterdir()) == []


def test_an_unreachable_redis_is_told_without_its_password() -> None:
    with pytest.raises(ConfigurationError) as refused:
        embedded_redis.check("redis://user:secret@127.0.0.1:1/0")

    assert "redis://user:***@127.0.0.1:1/0 cannot be reached" in str(refused.value)
    assert "secret" not in str(refused.value)
