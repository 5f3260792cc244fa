"""The Dockerfile: what it takes, what it installs, and that what it makes runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.embedded_redis import find_server
from gql_imgproc.standalone.sample_server import serve_images
from gql_imgproc.standalone.server_address import check_port
from tests.conftest import postgresql
from tests.deploy import containers
from tests.deploy.dockerfile import ROOT, is_in_context, stages

#: Time for packages, which come over the network, and for the story after it, in seconds.
pytestmark = pytest.mark.timeout(600)
#: More than all stages together take, in bytes.
LAYERS_BYTES = 4 * 1024**3


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=ours())

    assert (done.returncode, done.stdout) == (0, "")


def ours() -> dict[str, str]:
    """The environment in which the tools of this project are found first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_neither_secrets_nor_data_nor_tests_get_into_the_image() -> None:
    for name in (".env", "data/imgproc.db", "tests/conftest.py", ".git/config", "gql_imgproc/web/static/index.html"):
        assert not is_in_context(ROOT / name), name
    assert not is_in_context(ROOT / "frontend/node_modules/vite/package.json")
    assert not is_in_context(ROOT / "gql_imgproc/database/__pycache__/tables.cpython-313.pyc")
    assert is_in_context(ROOT / "frontend/.npmrc")


def entries(lock: str) -> dict[str, frozenset[str]]:
    """What a lock holds: each package with its version, and its hashes."""
    lines = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return {re.split(r"[ ;]", line)[0]: frozenset(re.findall(r"--hash=(\S+)", line)) for line in lines if line}


@pytest.mark.parametrize("lock", ["deploy/image/runtime.lock", "deploy/image/build.lock"])
def test_the_image_gets_the_versions_that_were_tested(lock: str) -> None:
    tested = entries("requirements.lock")

    taken = entries(lock)

    assert taken
    assert {package: hashes for package, hashes in taken.items() if tested.get(package) != hashes} == {}


def test_every_file_that_is_copied_is_there() -> None:
    copied = [
        name
        for stage in stages()
        for instruction in stage.instructions
        if instruction.name == "COPY" and not instruction.source_stage
        for name in instruction.words[:-1]
    ]
    assert len(copied) > 8
    for name in copied:
        found = ROOT / name
        assert is_in_context(found), name
        assert found.is_dir() if name.endswith("/") else found.is_file(), name


def test_bases_have_a_version_and_the_user_a_number() -> None:
    *_, image = stages()

    assert {stage.base.partition(":")[0] for stage in stages()} == {"python", "node"}
    assert all(re.search(r":[0-9]+.*-slim", stage.base) for stage in stages())
    assert re.fullmatch(r"[1-9][0-9]{3,}:[1-9][0-9]{3,}", image.last("USER").value)
    # The process itself gets the signals.
    assert image.last("ENTRYPOINT").command == ["gql-imgproc"]


@contextmanager
def redis_on_a_port(folder: Path) -> Iterator[str]:
    port = check_port("127.0.0.1", 0)
    server = subprocess.Popen(
        [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def built(tmp_path: Path) -> Iterator[containers.Image]:
    """What the Dockerfile makes."""
    if reason := containers.why_not():
        pytest.skip(reason)
    # Thousands of small files: in memory, where there is enough of it.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > LAYERS_BYTES
    with tempfile.TemporaryDirectory(prefix="image", dir=memory if roomy else tmp_path) as folder:
        yield containers.build(Path(folder))


@pytest.mark.acceptance
def test_the_image_is_built_and_does_its_work_as_a_nameless_user_on_a_root_that_cannot_be_written(
    built: containers.Image, tmp_path: Path
) -> None:
    # Given an image with what is needed and nothing else,
    installed = {path.name.partition("-")[0].lower() for path in built.layer.rglob("*.dist-info")}
    assert {"gql_imgproc", "psycopg", "opentelemetry_sdk"} <= installed
    assert not {"pytest", "mypy", "hatchling", "pip"} & installed
    assert list(built.layer.rglob("site-packages/gql_imgproc/web/static/index.html"))

    # a database, a Redis, a volume of that user's and a picture somewhere,
    volume, pictures = tmp_path / "volume", tmp_path / "pictures"
    for folder in (volume, pictures):
        folder.mkdir()
    os.chown(volume, int(built.user), int(built.group))
    (pictures / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    port = check_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    with (
        postgresql() as database,
        redis_on_a_port(tmp_path) as redis_url,
        serve_images(pictures) as pictures_port,
        built as image,
    ):
        # (its socket is in a folder that is closed to others)
        os.chown(database.server.pgdata, -1, int(image.group))
        database.server.pgdata.chmod(0o750)
        settings = {
            "IMGPROC_DATABASE_URL": database.url,
            "IMGPROC_REDIS_URL": redis_url,
            "IMGPROC_STORAGE_URL": f"file://{volume}",
            "IMGPROC_PUBLIC_URL": url,
            "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
            "IMGPROC_FETCH_ALLOW_PORTS": str(pictures_port),
            "HEALTH_URL": f"{url}/healthz",
        }
        with_volumes = {"settings": settings, "volumes": (database.server.pgdata, volume)}

        # when the database is migrated, a key is made, and API and worker are started, each from that image,
        migration = image.start(["migrate"], log=tmp_path / "migrate.log", **with_volumes)
        assert migration.wait(60) == 0, migration.log.read_text()
        keys = image.start(["keys", "create", "--name", "till"], log=tmp_path / "keys.log", **with_volumes)
        assert keys.wait(60) == 0, keys.log.read_text()
        key = next(word for word in keys.log.read_text().split() if word.startswith("gip_"))
        api = image.start(["api", "--host", "0.0.0.0", "--port", str(port)], log=tmp_path / "api.log", **with_volumes)
        worker = image.start(["worker", "--processes", "1"], log=tmp_path / "worker.log", **with_volumes)
        try:
            # then its health check agrees,
            health = image.stage.last("HEALTHCHECK").command
            deadline = time.monotonic() + 60
            while image.start(health, log=tmp_path / "health.log", entrypoint=[], settings=settings).wait(30):
                assert time.monotonic() < deadline, api.log.read_text()
            assert httpx.get(f"{url}/readyz", trust_env=False).json() == {"ready": True, "missing": {}}
            page = httpx.get(url, trust_env=False)
            assert "text/html" in page.headers["Content-Type"]

            # an upload is done,
            manifest = tmp_path / "products.csv"
            manifest.write_text(
                f"S. No.,Product Name,Input Image Urls\n1,Lamp,http://127.0.0.1:{pictures_port}/lamp.png\n"
            )
            submit = [sys.executable, "-m", "gql_imgproc", "submit", str(manifest), "--url", url]
            refused = subprocess.run(submit, capture_output=True, text=True, timeout=60, check=False)
            assert (refused.returncode, "IMGPROC_API_KEY" in refused.stderr) == (1, True)
            submitted = subprocess.run(
                [*submit, "--output", str(tmp_path / "out.csv")],
                env={**os.environ, "IMGPROC_API_KEY": key},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert submitted.returncode == 0, submitted.stderr + worker.log.read_text()
            assert f"{url}/api/image/" in (tmp_path / "out.csv").read_text()

            # who looks from outside sees a stranger as number 1,
            for container in (api, worker):
                assert container.first.uids() == (int(image.user),) * 3
            assert json.loads(worker.log.read_text().splitlines()[-1])
        finally:
            # and told to stop they stop by themselves, within the time that compose.yaml gives a worker.
            for container in (api, worker):
                container.first.send_signal(signal.SIGTERM)
            ends = [container.wait(30) for container in (api, worker)]
        assert ends == [0, 0], api.log.read_text() + worker.log.read_text()
