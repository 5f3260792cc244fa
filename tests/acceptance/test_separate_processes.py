"""API and workers started one by one, as on several machines."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import COMMAND, environment, refused
from tests.acceptance.test_observability import free_port

pytestmark = pytest.mark.acceptance


def figures_at(port: int) -> str:
    """What a worker process tells; one may have done all the work before another has begun."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_an_api_and_a_worker_that_share_redis_and_database_do_the_work(
    redis_url: str, pictures: Path, pictures_port: int, tmp_path: Path
) -> None:
    (pictures / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    manifest = tmp_path / "products.csv"
    manifest.write_text(f"S. No.,Product Name,Input Image Urls\n1,Lamp,http://127.0.0.1:{pictures_port}/lamp.png\n")
    port = check_port("127.0.0.1", 0)
    url, metrics_port = f"http://127.0.0.1:{port}", free_port(together=2)
    ours = environment(
        REDIS_URL=redis_url,
        PUBLIC_URL=url,
        DATA_DIR=str(tmp_path / "data"),
        FETCH_ALLOW_NETWORKS="127.0.0.0/8",
        FETCH_ALLOW_PORTS=str(pictures_port),
    )

    migrated = subprocess.run([*COMMAND, "migrate"], env=ours, capture_output=True, timeout=60, check=False)
    assert migrated.returncode == 0, migrated.stderr
    with (tmp_path / "log").open("wb") as log:
        parts = [
            subprocess.Popen([*COMMAND, *part], env=ours, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for part in (
                ("api", "--port", str(port)),
                ("worker", "--processes", "2", "--metrics-port", str(metrics_port)),
            )
        ]
    try:
        wait_until_ready(url)
        submit = ["submit", str(manifest), "--url", url, "--output", str(tmp_path / "out.csv")]
        done = subprocess.run([*COMMAND, *submit], env=ours, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        assert f"{url}/api/image/" in (tmp_path / "out.csv").read_text()
        # The figures of each of the two processes are at a port of its own.
        figures = [figures_at(each) for each in (metrics_port, metrics_port + 1)]
        claimed = sorted(re.findall(r"^imgproc_products_claimed_total (.*)$", "\n".join(figures), re.MULTILINE))
        assert claimed == ["0.0", "1.0"]
    finally:
        for part in parts:
            part.send_signal(signal.SIGTERM)
        statuses = [part.wait(20) for part in parts]
    assert statuses == [0, 0], (tmp_path / "log").read_text()


def test_a_part_alone_says_in_one_line_what_it_lacks(redis_url: str, tmp_path: Path) -> None:
    here = {"DATA_DIR": str(tmp_path / "data")}
    for part in (("api", "--port", "0"), ("worker",)):
        assert refused(*part, **here, REDIS_URL=f"unix://{tmp_path}/none").startswith(
            f"gql-imgproc: Redis at unix://{tmp_path}/none cannot be reached: "
        )
        assert refused(*part, **here, REDIS_URL=redis_url) == (
            f"gql-imgproc: The database sqlite:///{tmp_path}/data/imgproc.db does not have the tables of this version. "
            "Run `gql-imgproc migrate`\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_the_schema_in_the_repository_is_what_the_code_exports() -> None:
    exported = subprocess.run([*COMMAND, "export-schema"], capture_output=True, text=True, timeout=60, check=True)

    assert exported.stdout == (Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8")


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(url)
