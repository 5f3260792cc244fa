"""Runs the pods of the chart with `podman kube play`, which needs no cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gql_imgproc.standalone import sample_images
from tests.acceptance.netns_hosts import host
from tests.deploy.containers import docker, wait_for
from tests.deploy.installation import ROOT, render_chart

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("engine"),
]

NETWORK, STAND_INS = "imgproc-kube", ROOT / "tests/deploy/docker"
API, WORKER = "gql-imgproc-api-pod-api", "gql-imgproc-worker-pod-worker"
STORE = "mkdir -p /objects/imgproc; exec versitygw --port :7070 --health /health posix /objects"


class Node:
    """A container with Podman, on a network with database, Redis and bucket."""

    def __init__(self) -> None:
        self.started: list[str] = []
        docker("network", "create", NETWORK)
        self.gateway = docker("network", "inspect", NETWORK, "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        users = ("POSTGRES_USER=imgproc", "POSTGRES_DB=imgproc", "POSTGRES_PASSWORD=secret1")
        self.database = self._start(*(f"--env={each}" for each in users), "postgres:18-trixie")
        self.redis = self._start("valkey/valkey:8.1-alpine", "valkey-server", "--save", "", "--protected-mode", "no")
        keys = ("--env=ROOT_ACCESS_KEY=imgproc", "--env=ROOT_SECRET_KEY=secret1")
        self.store = self._start(*keys, "--entrypoint=sh", "versity/versitygw:v1.8.0", "-c", STORE)
        self._start("--name=imgproc-node", "--privileged", "--env=PODMAN_IGNORE_CGROUPSV1_WARNING=1", "podman-host")

    def _start(self, *options: str) -> str:
        """Starts a container; returns its IP address."""
        container = docker("run", "--detach", f"--network={NETWORK}", *options).strip()
        self.started.append(container)
        return docker(
            "inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}', container
        ).strip()

    def podman(self, *arguments: str, stdin: str = "") -> str:
        return docker("exec", "--interactive", "imgproc-node", "podman", *arguments, stdin=stdin, timeout=120)

    def status(self, container: str) -> str:
        return self.podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container).strip()

    def close(self) -> None:
        docker("rm", "--force", "--volumes", *self.started)
        docker("network", "rm", NETWORK)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    docker("build", "--tag", "registry.example/gql-imgproc:0.1.0", str(ROOT), timeout=400)
    docker("build", "--target", "podman", "--tag", "podman-host", str(STAND_INS), timeout=300)
    archive = tmp_path / "image.tar"
    docker("save", "--output", str(archive), "registry.example/gql-imgproc:0.1.0", timeout=120)
    started = Node()
    try:
        docker("cp", str(archive), "imgproc-node:/image.tar", timeout=120)
        started.podman("load", "--quiet", "--input", "/image.tar")
        yield started
    finally:
        started.close()


def write_values(node: Node, path: Path) -> None:
    values = {
        "settings": {
            "IMGPROC_PUBLIC_URL": "http://127.0.0.1:8000",
            "IMGPROC_STORAGE_URL": "s3://imgproc",
            "AWS_ENDPOINT_URL": f"http://{node.store}:7070",
            "AWS_REGION": "us-east-1",
            "IMGPROC_FETCH_ALLOW_NETWORKS": f"{node.gateway}/32",
            "IMGPROC_FETCH_ALLOW_PORTS": "*",
        },
        "secret": {
            "values": {
                "IMGPROC_DATABASE_URL": f"postgresql+psycopg://imgproc:secret1@{node.database}/imgproc",
                "IMGPROC_REDIS_URL": f"redis://{node.redis}:6379/0",
                "AWS_ACCESS_KEY_ID": "imgproc",
                "AWS_SECRET_ACCESS_KEY": "secret1",
            }
        },
        "ingress": {"host": "imgproc.example.com"},
        "networkPolicy": {"services": {"cidrs": ["10.0.0.0/8"]}},
    }
    path.write_text(yaml.safe_dump(values))


def test_pods_process_an_upload_and_stop_with_status_0(node: Node, tmp_path: Path) -> None:
    # Given the pods of the chart, and an API key,
    write_values(node, tmp_path / "values.yaml")
    node.podman("kube", "play", "-", stdin=render_chart("--values", str(tmp_path / "values.yaml")))
    wait_for(lambda: node.status("gql-imgproc-migrate-1-pod-migrate") == "exited 0")
    scopes = ("--scope", "read", "--scope", "write")
    (key,) = re.findall(r"gip_\w+", node.podman("exec", WORKER, "gql-imgproc", "keys", "create", "--name=x", *scopes))
    health = "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz')"
    wait_for(lambda: "ready" in node.podman("exec", WORKER, "echo", "ready") and node.status(API) == "running 0")

    # when an upload is submitted in a pod,
    image = sample_images.render_sample("lamp-plan.png")
    with host(lambda _: image, ip=node.gateway) as port:
        rows = f"S. No.,Product Name,Input Image Urls\n1,Lamp,http://{node.gateway}:{port}/lamp.png\n"
        script = (
            f'cd /tmp; cat > in.csv; for n in $(seq 60); do python3 -c "{health}" 2>/dev/null && break; sleep 1; done;'
            "gql-imgproc submit in.csv --url http://127.0.0.1:8000 --output out.csv >&2; cat out.csv"
        )
        output = node.podman("exec", "-i", f"--env=IMGPROC_API_KEY={key}", API, "sh", "-euc", script, stdin=rows)

    # then its image is processed by a restricted process,
    assert output.count("http://127.0.0.1:8000/api/image/") == 1
    for container in (API, WORKER):
        status = node.podman("exec", container, "cat", "/proc/1/status")
        assert re.findall(r"^(?:Uid:\s+|CapBnd:\s+|NoNewPrivs:\s+)(\w+)", status, re.MULTILINE) == [
            "10001",
            "0" * 16,
            "1",
        ]
        assert node.podman("inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", container).strip() == "true"

    # and the pods stop with status 0.
    node.podman("stop", API, WORKER)
    assert [node.status(each) for each in (API, WORKER)] == ["exited 0", "exited 0"]
