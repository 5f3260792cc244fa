"""Builds the image and runs compose.yaml on a container engine, with the commands of docs/OPERATIONS.md unchanged."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gql_imgproc.client import AsyncClient
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, write_csv
from tests.deploy.containers import Checkout, docker, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("engine"),
]

URL, PROMETHEUS = "http://127.0.0.1:8000", "http://127.0.0.1:9090"
PASSWORDS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "STORE_SECRET_KEY", "GRAFANA_PASSWORD")
PROJECT = "gql-imgproc"
#: More than the 64 that two workers can download at once.
IMAGES = 70


@dataclass(frozen=True, slots=True)
class Installation:
    checkout: Checkout
    #: The first API key.
    key: str

    @property
    def client(self) -> AsyncClient:
        return AsyncClient(URL, self.key)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    if docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"):
        pytest.skip(f"the engine has volumes of {PROJECT}; the tests would delete them")
    checkout = Checkout(tmp_path_factory.mktemp("host") / "checkout")
    shutil.copy(checkout.folder / ".env.example", checkout.folder / ".env")
    checkout.set_values(
        **dict.fromkeys(PASSWORDS, "secret1"),
        # The tests serve the images, on the engine's host.
        FETCH_ALLOW_NETWORKS="10.0.0.0/8,172.16.0.0/12,192.168.0.0/16",
        FETCH_ALLOW_PORTS="*",
    )
    try:
        (key,) = re.findall(r"gip_\w+", checkout.run_documented("Compose install", timeout=400))
        wait_for(is_ready)
        yield Installation(checkout, key)
    finally:
        checkout.run("docker compose down --volumes")


def is_ready() -> bool:
    try:
        return httpx.get(f"{URL}/readyz", trust_env=False).json() == {"ready": True, "missing": {}, "warnings": {}}
    except httpx.TransportError:
        return False


def containers(service: str) -> list[str]:
    return docker("ps", "--quiet", "--filter", f"label=com.docker.compose.service={service}").split()


def inspect(container: str, format: str) -> str:
    return docker("inspect", "--format", format, container).strip()


def gateway() -> str:
    """IP address of the engine's host, as containers see it."""
    return docker("network", "inspect", f"{PROJECT}_outside", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


def test_build_context_has_no_secrets_data_or_local_builds(tmp_path: Path) -> None:
    # Given the source tree with what a developer's machine has in it,
    tree = Checkout(tmp_path / "tree").folder
    for name in (
        ".env",
        "data/imgproc.db",
        "gql_imgproc/web/static/old.html",
        "frontend/node_modules/vite/package.json",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("local")

    # when its build context is copied out,
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    docker("build", "--file", str(dockerfile), "--output", str(tmp_path / "context"), str(tree))

    # then it is what the image needs.
    context = tmp_path / "context"
    assert {path.name for path in context.iterdir()} == {
        *("LICENSE", "README.md", "alembic", "deploy", "frontend", "gql_imgproc", "hatch_build.py"),
        *("pyproject.toml", "worker_main.py"),
    }
    assert [path.name for path in (context / "deploy").iterdir()] == ["image"]
    assert not (context / "frontend/node_modules").exists()
    assert not (context / "gql_imgproc/web/static").exists()


def test_image_has_the_needed_packages_and_no_others(installation: Installation) -> None:
    listing = docker(
        "run", "--rm", "--entrypoint", "find", "gql-imgproc:local", "/opt/gql-imgproc", "-path", "*site-packages/*"
    )
    installed = {
        path.rpartition("/")[2].partition("-")[0].lower() for path in listing.split() if path.endswith(".dist-info")
    }

    assert {"gql_imgproc", "psycopg", "opentelemetry_sdk"} <= installed
    assert not {"pytest", "mypy", "hatchling", "pip"} & installed
    assert "site-packages/gql_imgproc/web/static/index.html" in listing


def test_containers_are_restricted(installation: Installation) -> None:
    for container in [*containers("api"), *containers("worker")]:
        status = docker("exec", container, "cat", "/proc/1/status")
        assert re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE) == ["10001"]
        assert re.findall(r"^CapBnd:\s+(\w+)", status, re.MULTILINE) == ["0" * 16]
        assert re.findall(r"^NoNewPrivs:\s+(\d)", status, re.MULTILINE) == ["1"]
        assert "ro," in inspect(container, "{{.HostConfig.ReadonlyRootfs}}").replace("true", "ro,")
        limit_bytes = int(inspect(container, "{{.HostConfig.Memory}}"))
        blocks, block_bytes = map(int, docker("exec", container, "stat", "-f", "-c", "%b %S", "/tmp").split())
        assert blocks * block_bytes == 400 * 1024**2 < limit_bytes


def test_health_checks_pass_and_prometheus_scrapes_every_process(installation: Installation) -> None:
    for service in ("api", "worker", "database", "redis", "store", "prometheus", "grafana"):
        for container in containers(service):
            wait_for(lambda container=container: inspect(container, "{{.State.Health.Status}}") == "healthy")

    def up() -> list[str]:
        answer = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": "up"}, trust_env=False).json()
        return sorted(each["metric"]["job"] for each in answer["data"]["result"] if each["value"][1] == "1")

    wait_for(lambda: up() == ["gql-imgproc-api", *["gql-imgproc-worker"] * 2])


def test_upload_needs_the_key(installation: Installation) -> None:
    answer = httpx.post(f"{URL}/graphql", json={"query": "{ requests { nodes { id } } }"}, trust_env=False)

    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_image_survives_a_killed_worker_and_a_lost_redis_while_workers_are_added(
    installation: Installation, tmp_path: Path
) -> None:
    checkout = installation.checkout
    image = sample_images.render_sample("espresso-front.jpg")

    async def upload(csv_path: Path) -> str:
        async with installation.client as client:
            return (await client.upload(csv_path)).id

    async def processed(request_id: str) -> int:
        async with installation.client as client:
            return (await client.get(request_id)).processed_images

    # Given a request on a slow image host, of which two workers have processed some images,
    with host(lambda _: image, delay_s=1, ip=gateway()) as port:
        urls = [[f"http://{gateway()}:{port}/{n}.jpg"] for n in range(IMAGES)]
        request_id = asyncio.run(upload(write_csv(tmp_path / "products.csv", urls)))
        wait_for(lambda: asyncio.run(processed(request_id)) > 0)
        killed, other = containers("worker")

        # when all processes of a worker are killed, two workers are added, and Redis is lost,
        docker("exec", "--detach", killed, "sh", "-c", "kill -9 -1")
        # Before Compose may replace containers: the engine restarts one.
        wait_for(lambda: inspect(killed, "{{.RestartCount}} {{.State.Running}}") == "1 true")
        assert inspect(other, "{{.RestartCount}}") == "0"
        assert asyncio.run(processed(request_id)) < IMAGES
        checkout.set_values(WORKERS="4")
        checkout.run_documented("Compose apply")
        checkout.run("docker compose kill redis && docker compose start redis")

        # then every image is processed once,
        final = asyncio.run(watch_and_download(installation, request_id, tmp_path / "out.csv"))
    assert final == (RequestStatus.COMPLETED, IMAGES, 0)
    outputs = [row["Output Image Urls"] for row in read(tmp_path / "out.csv")]
    assert len(set(outputs)) == IMAGES
    assert len(httpx.get(outputs[0], trust_env=False).content) <= len(image)

    # and four workers run.
    wait_for(lambda: len(containers("worker")) == 4)


async def watch_and_download(
    installation: Installation, request_id: str, output: Path
) -> tuple[RequestStatus, int, int]:
    async with installation.client as client:
        *_, last = [state async for state in client.watch(request_id)]
        assert last.output_csv_url is not None
        await client.download(last.output_csv_url, output)
        return last.status, last.processed_images, last.failed_images


def test_backup_is_restored_after_every_volume_is_lost(installation: Installation, tmp_path: Path) -> None:
    # Given a finished request, and a backup,
    image = sample_images.render_sample("lamp-plan.png")

    async def finish() -> str:
        async with installation.client as client:
            return (await client.upload(tmp_path / "products.csv")).id

    with host(lambda _: image, ip=gateway()) as port:
        write_csv(tmp_path / "products.csv", [[f"http://{gateway()}:{port}/lamp.png"]])
        request_id = asyncio.run(finish())
        final = asyncio.run(watch_and_download(installation, request_id, tmp_path / "before.csv"))
    assert final == (RequestStatus.COMPLETED, 1, 0)
    ((url,),) = [row["Output Image Urls"].split(",") for row in read(tmp_path / "before.csv")]
    stored = httpx.get(url, trust_env=False).content
    backup = tmp_path / "backup"
    backup.mkdir()
    installation.checkout.run_documented("Compose back up", BACKUP=str(backup))

    # when every volume is lost, and the backup is restored,
    installation.checkout.run("docker compose down --volumes")
    installation.checkout.run_documented("Compose restore", timeout=300, BACKUP=str(backup))
    wait_for(is_ready)

    # then the request is there with its image, and the key is valid.
    restored = asyncio.run(watch_and_download(installation, request_id, tmp_path / "after.csv"))
    assert restored == final
    assert (tmp_path / "after.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    assert httpx.get(url, trust_env=False).content == stored


def test_api_and_workers_stop_with_status_0(installation: Installation) -> None:
    wait_for(is_ready)
    stopped = [*containers("api"), *containers("worker")]

    installation.checkout.run("docker compose stop")

    assert [inspect(container, "{{.State.ExitCode}} {{.State.OOMKilled}}") for container in stopped] == ["0 false"] * 5
