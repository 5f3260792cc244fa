"""API and workers, started separately as on several machines."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, READY_S, environment, run_refused
from tests.support.free_port import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def fetch_metrics(port: int) -> str:
    """The metrics of a worker process; waits until it has started, since another one may have done all the work."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_separate_api_and_workers_process_an_upload(
    redis_url: str, image_folder: Path, image_port: int, tmp_path: Path
) -> None:
    (image_folder / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    csv_path = tmp_path / "products.csv"
    csv_path.write_text(f"S. No.,Product Name,Input Image Urls\n1,Lamp,http://127.0.0.1:{image_port}/lamp.png\n")
    port = free_port()
    url, metrics_port = f"http://127.0.0.1:{port}", free_port(together=2)
    variables = environment(
        REDIS_URL=redis_url,
        PUBLIC_URL=url,
        DATA_DIR=str(tmp_path / "data"),
        FETCH_ALLOW_NETWORKS="127.0.0.0/8",
        FETCH_ALLOW_PORTS=str(image_port),
    )

    migrated = subprocess.run([*COMMAND, "migrate"], env=variables, capture_output=True, timeout=60, check=False)
    assert migrated.returncode == 0, migrated.stderr
    with (tmp_path / "log").open("wb") as log:
        services = [
            subprocess.Popen([*COMMAND, *command], env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for command in (
                ("api", "--port", str(port)),
                ("worker", "--processes", "2", "--metrics-port", str(metrics_port)),
            )
        ]
    try:
        wait_until_ready(url)
        submit = ["submit", str(csv_path), "--url", url, "--output", str(tmp_path / "out.csv")]
        done = subprocess.run(
            [*COMMAND, *submit], env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        assert f"{url}/api/image/" in (tmp_path / "out.csv").read_text()
        # Each of the two processes serves its metrics on a port of its own.
        metrics = [fetch_metrics(each) for each in (metrics_port, metrics_port + 1)]
        claimed = sorted(re.findall(r"^imgproc_images_claimed_total (.*)$", "\n".join(metrics), re.MULTILINE))
        assert claimed == ["0.0", "1.0"]
    finally:
        for service in services:
            service.send_signal(signal.SIGTERM)
        statuses = [service.wait(20) for service in services]
    assert statuses == [0, 0], (tmp_path / "log").read_text()


def test_service_without_redis_or_database_fails_with_one_line(redis_url: str, tmp_path: Path) -> None:
    settings = {"DATA_DIR": str(tmp_path / "data")}
    for command in (("api", "--port", "0"), ("worker",)):
        assert run_refused(*command, **settings, REDIS_URL=f"unix://{tmp_path}/none").startswith(
            f"gql-imgproc: Cannot connect to Redis at unix://{tmp_path}/none: "
        )
        assert run_refused(*command, **settings, REDIS_URL=redis_url) == (
            f"gql-imgproc: The database sqlite:///{tmp_path}/data/imgproc.db does not exist. Run the command in "
            "the folder where `gql-imgproc up` runs, or set IMGPROC_DATA_DIR. For a new database, run "
            "`gql-imgproc migrate`\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_schema_in_the_repository_is_the_exported_one() -> None:
    exported = subprocess.run([*COMMAND, "export-schema"], capture_output=True, text=True, timeout=60, check=True)

    assert exported.stdout == (Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8")


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)
