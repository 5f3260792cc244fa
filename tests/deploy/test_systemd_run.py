"""Runs the units in a container with systemd, with the commands of docs/OPERATIONS.md unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gql_imgproc.standalone import sample_images
from tests.deploy.containers import Checkout, docker, wait_for
from tests.deploy.installation import ROOT, documented_commands

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("engine"),
]

URL = "http://127.0.0.1:8000"
UNITS = ("gql-imgproc-api", "gql-imgproc-worker@1", "gql-imgproc-worker@2")
#: With cgroups of version 1, systemd needs these words.
LEGACY = "SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"


class Host:
    """A container with systemd, PostgreSQL and Valkey."""

    def __init__(self, image: str) -> None:
        legacy = [] if Path("/sys/fs/cgroup/cgroup.controllers").exists() else ["--env", LEGACY]
        options = ["--detach", "--privileged", "--tmpfs", "/run", "--tmpfs", "/run/lock"]
        self._container = docker("run", *options, *legacy, "--env", "container=docker", image).strip()

    def run(self, command: str, *, timeout: float = 120) -> str:
        return docker("exec", self._container, "sh", "-euc", f"cd /root/checkout; {command}", timeout=timeout)

    def copy(self, source: Path, target: str) -> None:
        docker("cp", str(source), f"{self._container}:{target}")

    def state(self, unit: str, name: str) -> str:
        return docker("exec", self._container, "systemctl", "show", "--value", f"--property={name}", unit).strip()

    def answers(self, url: str) -> bool:
        return "ok" in self.run(f"python3 -c 'import urllib.request as r; r.urlopen(\"{url}\")' && echo ok || true")

    def create_database(self, password: str) -> None:
        statements = (
            f"CREATE USER imgproc PASSWORD '{password}';"
            "CREATE DATABASE imgproc OWNER imgproc ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0;"
        )
        docker("exec", "--interactive", "--user", "postgres", self._container, "psql", "--quiet", stdin=statements)

    def close(self) -> None:
        docker("rm", "--force", "--volumes", self._container)


@pytest.fixture
def systemd_host() -> Iterator[Host]:
    docker("build", "--target", "systemd", "--tag", "systemd-host", str(ROOT / "tests/deploy/docker"), timeout=300)
    started = Host("systemd-host")
    try:
        yield started
    finally:
        started.close()


def test_units_process_an_upload_and_restart_a_killed_worker(systemd_host: Host, tmp_path: Path) -> None:
    # Given a host with the wheel, a database, and one image of each format, since each has its own decoder and encoder,
    checkout = Checkout(tmp_path / "checkout")
    checkout.run_documented("systemd build", timeout=300)
    images = checkout.folder / "images"
    images.mkdir()
    names = {name.rpartition(".")[2]: name for sample in sample_images.CATALOGUE for name in sample.images}.values()
    for name in names:
        (images / name).write_bytes(sample_images.render_sample(name))
    urls = ",".join(f"http://127.0.0.1:8090/{name}" for name in names)
    (checkout.folder / "products.csv").write_text(f'S. No.,Product Name,Input Image Urls\n1,All,"{urls}"\n')
    systemd_host.copy(checkout.folder, "/root/checkout")
    wait_for(lambda: systemd_host.state("postgresql@17-main", "ActiveState") == "active")
    wait_for(lambda: systemd_host.state("valkey-server", "ActiveState") == "active")
    systemd_host.create_database("secret1")
    systemd_host.run(
        "systemd-run --quiet python3 -m http.server 8090 --bind 127.0.0.1 --directory /root/checkout/images"
    )

    # when it is installed as documented,
    systemd_host.run(documented_commands("systemd install"), timeout=300)
    systemd_host.run(
        "file=/etc/gql-imgproc/environment;"
        f"sed -i 's#CHANGE-ME#secret1#; s#https://imgproc.example#{URL}#' $file;"
        "printf 'IMGPROC_FETCH_ALLOW_NETWORKS=127.0.0.0/8\\nIMGPROC_FETCH_ALLOW_PORTS=8090\\n' >> $file"
    )
    (key,) = re.findall(r"gip_\w+", systemd_host.run(documented_commands("systemd start")))

    # and all processes of a worker are killed,
    wait_for(lambda: all(systemd_host.state(unit, "ActiveState") == "active" for unit in UNITS))
    systemd_host.run("systemctl kill --signal=KILL gql-imgproc-worker@1")

    # then an upload is processed with every image,
    submit = f"IMGPROC_API_KEY={key} /opt/gql-imgproc/bin/gql-imgproc submit products.csv --url {URL} --output out.csv"
    wait_for(lambda: systemd_host.answers(f"{URL}/readyz"))
    systemd_host.run(submit)
    assert systemd_host.run("cat out.csv").count(f"{URL}/api/image/") == len(names) == 6

    # the worker was restarted,
    assert [systemd_host.state(unit, "NRestarts") for unit in UNITS] == ["0", "1", "0"]

    # and every unit stops with status 0 once both workers serve metrics: one that still imports ends by the signal.
    wait_for(lambda: all(systemd_host.answers(f"http://127.0.0.1:{port}/metrics") for port in (9191, 9192)))
    systemd_host.run(f"systemctl stop {' '.join(UNITS)}")
    assert [systemd_host.state(unit, "Result") for unit in UNITS] == ["success"] * 3
    assert [systemd_host.state(unit, "ExecMainStatus") for unit in UNITS] == ["0"] * 3
