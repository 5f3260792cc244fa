"""The Dockerfile: its build context, its packages, and a run of the image."""

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
from tests.conftest import postgresql
from tests.deploy import containers
from tests.deploy.dockerfile import ROOT, is_in_context, stages
from tests.support.free_port import free_port

# The build downloads packages, then the test runs the image.
pytestmark = pytest.mark.timeout(600)
#: Upper bound for the size of all stages, in bytes.
LAYERS_BYTES = 4 * 1024**3


def test_dockerfile_passes_hadolint() -> None:
    done = subprocess.run(
        ["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=tool_environment()
    )

    assert (done.returncode, done.stdout) == (0, "")


def tool_environment() -> dict[str, str]:
    """Returns an environment whose PATH starts with the tools of this project."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_secrets_data_and_tests_are_not_in_the_build_context() -> None:
    for name in (".env", "data/imgproc.db", "tests/conftest.py", ".git/config", "gql_imgproc/web/static/index.html"):
        assert not is_in_context(ROOT / name), name
    assert not is_in_context(ROOT / "frontend/node_modules/vite/package.json")
    assert not is_in_context(ROOT / "gql_imgproc/database/__pycache__/tables.cpython-313.pyc")
    assert is_in_context(ROOT / "frontend/.npmrc")


def read_lock(lock: str) -> dict[str, frozenset[str]]:
    """Returns the hashes of each package and version in a lock file."""
    lines = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return {re.split(r"[ ;]", line)[0]: frozenset(re.findall(r"--hash=(\S+)", line)) for line in lines if line}


@pytest.mark.parametrize("lock", ["deploy/image/runtime.lock", "deploy/image/build.lock"])
def test_image_has_the_tested_package_versions(lock: str) -> None:
    tested = read_lock("requirements.lock")

    installed = read_lock(lock)

    assert installed
    assert {package: hashes for package, hashes in installed.items() if tested.get(package) != hashes} == {}


def test_copied_files_exist() -> None:
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


def test_base_images_are_pinned_and_the_user_is_numeric() -> None:
    *_, image = stages()

    assert {stage.base.partition(":")[0] for stage in stages()} == {"python", "node"}
    assert all(re.search(r":[0-9]+.*-slim", stage.base) for stage in stages())
    assert re.fullmatch(r"[1-9][0-9]{3,}:[1-9][0-9]{3,}", image.last("USER").value)
    # The exec form: the process itself receives signals.
    assert image.last("ENTRYPOINT").command == ["gql-imgproc"]


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    port = free_port()
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
    """The image that the Dockerfile builds."""
    if reason := containers.find_obstacle():
        pytest.skip(reason)
    # The image has thousands of small files, so build it in memory if there is enough.
    memory = Path("/dev/shm")
    has_space = memory.is_dir() and shutil.disk_usage(memory).free > LAYERS_BYTES
    with tempfile.TemporaryDirectory(prefix="image", dir=memory if has_space else tmp_path) as folder:
        yield containers.build(Path(folder))


@pytest.mark.acceptance
@pytest.mark.slow
def test_image_runs_as_non_root_with_read_only_filesystem(built: containers.Image, tmp_path: Path) -> None:
    # Given an image with the needed packages and no others,
    installed = {path.name.partition("-")[0].lower() for path in built.layer.rglob("*.dist-info")}
    assert {"gql_imgproc", "psycopg", "opentelemetry_sdk"} <= installed
    assert not {"pytest", "mypy", "hatchling", "pip"} & installed
    assert list(built.layer.rglob("site-packages/gql_imgproc/web/static/index.html"))

    # a database, a Redis, a volume that the user owns, and an image host,
    volume, images = tmp_path / "volume", tmp_path / "images"
    for folder in (volume, images):
        folder.mkdir()
    os.chown(volume, int(built.user), int(built.group))
    (images / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        postgresql() as database,
        redis_server(tmp_path) as redis_url,
        serve_images(images) as image_port,
        built as image,
    ):
        # (PostgreSQL's socket is in a folder that other users cannot enter)
        os.chown(database.server.pgdata, -1, int(image.group))
        database.server.pgdata.chmod(0o750)
        settings = {
            "IMGPROC_DATABASE_URL": database.url,
            "IMGPROC_REDIS_URL": redis_url,
            "IMGPROC_STORAGE_URL": f"file://{volume}",
            "IMGPROC_PUBLIC_URL": url,
            "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
            "IMGPROC_FETCH_ALLOW_PORTS": str(image_port),
            "HEALTH_URL": f"{url}/healthz",
        }
        options = {"settings": settings, "volumes": (database.server.pgdata, volume)}

        # when the image runs the migration, creates an API key, and runs API and worker,
        migration = image.start(["migrate"], log=tmp_path / "migrate.log", **options)
        assert migration.wait(60) == 0, migration.log.read_text()
        keys = image.start(["keys", "create", "--name", "till"], log=tmp_path / "keys.log", **options)
        assert keys.wait(60) == 0, keys.log.read_text()
        key = next(word for word in keys.log.read_text().split() if word.startswith("gip_"))
        api = image.start(["api", "--host", "0.0.0.0", "--port", str(port)], log=tmp_path / "api.log", **options)
        worker = image.start(["worker", "--processes", "1"], log=tmp_path / "worker.log", **options)
        try:
            # then its health check passes,
            health = image.stage.last("HEALTHCHECK").command
            deadline = time.monotonic() + 60
            while image.start(health, log=tmp_path / "health.log", entrypoint=[], settings=settings).wait(30):
                assert time.monotonic() < deadline, api.log.read_text()
            assert httpx.get(f"{url}/readyz", trust_env=False).json() == {"ready": True, "missing": {}}
            page = httpx.get(url, trust_env=False)
            assert "text/html" in page.headers["Content-Type"]

            # an upload is processed,
            csv_path = tmp_path / "products.csv"
            csv_path.write_text(
                f"S. No.,Product Name,Input Image Urls\n1,Lamp,http://127.0.0.1:{image_port}/lamp.png\n"
            )
            submit = [sys.executable, "-m", "gql_imgproc", "submit", str(csv_path), "--url", url]
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

            # the processes run as the unprivileged user,
            for container in (api, worker):
                assert container.main_process.uids() == (int(image.user),) * 3
            assert json.loads(worker.log.read_text().splitlines()[-1])
        finally:
            # and SIGTERM stops them within the stop_grace_period of compose.yaml.
            for container in (api, worker):
                container.main_process.send_signal(signal.SIGTERM)
            statuses = [container.wait(30) for container in (api, worker)]
        assert statuses == [0, 0], api.log.read_text() + worker.log.read_text()
