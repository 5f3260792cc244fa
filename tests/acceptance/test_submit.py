"""The command-line client against the real service."""

from __future__ import annotations

import csv
import os
import pty
import re
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from gql_imgproc import __version__
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, READY_S, StartService, environment
from tests.support.free_port import free_port

pytestmark = pytest.mark.acceptance

HEADER = "S. No.,Product Name,Input Image Urls\n"


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment() | {"COLUMNS": "120", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )


@pytest.mark.slow
def test_exit_status_reports_the_outcome_of_the_upload(
    start: StartService, image_folder: Path, image_port: int, tmp_path: Path
) -> None:
    (image_folder / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    base = f"http://127.0.0.1:{image_port}"
    (tmp_path / "valid.csv").write_text(f"{HEADER}1,Lamp,{base}/lamp.png\n")
    (tmp_path / "mixed.csv").write_text(f'{HEADER}1,Lamp,"{base}/lamp.png,{base}/gone.png"\n')
    (tmp_path / "invalid.csv").write_text(f"{HEADER}one,,{base}/lamp.png\n2,Lamp,no URL\n")
    (tmp_path / "downloads").mkdir()
    service = start("--workers", "1")

    valid = run("submit", "valid.csv", "--url", service.url, folder=tmp_path)
    mixed = run("submit", "mixed.csv", "--url", service.url, "--output", "mixed-out.csv", folder=tmp_path)
    invalid = run("submit", "invalid.csv", "--url", service.url, folder=tmp_path)
    no_wait = run("submit", "valid.csv", "--url", service.url, "--no-wait", "--output", "none.csv", folder=tmp_path)

    mixed_id = mixed.stdout.split(":")[0]
    watched = run("watch", mixed_id, "--url", service.url, folder=tmp_path)
    for arguments in ((), ("--report",), ("--zip",)):
        downloaded = run("download", mixed_id, *arguments, "--url", service.url, folder=tmp_path / "downloads")
        assert downloaded.returncode == 0, downloaded.stderr

    summary = "1 of 2 images done"
    assert (watched.returncode, summary in watched.stdout, summary in mixed.stdout) == (3, True, True)
    folder = tmp_path / "downloads"
    assert (folder / "mixed-output.csv").read_bytes() == (tmp_path / "mixed-out.csv").read_bytes()
    assert (folder / "mixed-report.csv").read_text(encoding="utf-8-sig").startswith("Row,Product,")
    assert zipfile.ZipFile(folder / "mixed.zip").testzip() is None
    assert (valid.returncode, no_wait.returncode) == (0, 0), valid.stderr
    assert valid.stdout.splitlines()[0].endswith(": 1 product, 1 image")
    with (tmp_path / "valid-output.csv").open(newline="", encoding="utf-8-sig") as file:
        assert [row["Output Image Urls"].startswith(service.url) for row in csv.DictReader(file)] == [True]
    assert mixed.returncode == 3
    assert (tmp_path / "mixed-out.csv").exists()
    assert "404" in mixed.stdout
    assert invalid.returncode == 1
    for words in ("S. No.", "SERIAL_NUMBER_INVALID", "PRODUCT_NAME_EMPTY", "IMAGE_URL_INVALID"):
        assert words in invalid.stderr
    assert sorted(path.name for path in tmp_path.glob("*out*.csv")) == ["mixed-out.csv", "valid-output.csv"]
    assert not (tmp_path / "none.csv").exists()


def test_unreachable_service_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "valid.csv").write_text(HEADER)

    done = run("submit", "valid.csv", "--url", "http://127.0.0.1:1", folder=tmp_path)

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        "gql-imgproc: Cannot connect to http://127.0.0.1:1. "
        "Start the service with `gql-imgproc up`, or correct the URL\n"
    )


def test_missing_file_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run("submit", "none.csv", folder=tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "gql-imgproc: Cannot read the file none.csv: No such file or directory\n"


def test_version_is_printed(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout == f"gql-imgproc {__version__}\n"


@pytest.mark.slow
def test_demo_exits_successfully_without_a_terminal(tmp_path: Path) -> None:
    done = run("demo", "--data-dir", "demo", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 images in " in done.stdout
    assert len(list((tmp_path / "demo" / "images").iterdir())) == 30
    with (tmp_path / "demo" / "products-output.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert [row["Image Errors"] for row in rows] == [""] * 12
    assert sum(len(row["Output Image Urls"].split(",")) for row in rows) == 30
    assert without_numbers(done.stdout) == without_numbers(demo_output_in_readme())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_without_redis_says_so_once(tmp_path: Path) -> None:
    # The service may exit at any moment while the demo starts: repeated, since it is a race.
    url = f"redis://127.0.0.1:{free_port()}/0"
    for _ in range(10):
        done = subprocess.run(
            [*COMMAND, "demo", "--exit", "--data-dir", str(tmp_path / "demo")],
            env=environment(REDIS_URL=url),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert done.returncode == 1
        assert done.stderr.count("Cannot connect to Redis") == 1, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_second_interrupt_of_the_demo_prints_no_traceback(tmp_path: Path) -> None:
    # Given a demo in a terminal,
    terminal, stdin = pty.openpty()
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--data-dir", str(tmp_path / "demo")],
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(stdin)
    assert demo.stdout is not None
    assert any("Press Ctrl-C to stop" in line for line in demo.stdout)

    # when Ctrl-C is pressed twice,
    demo.send_signal(signal.SIGINT)
    time.sleep(0.1)
    demo.send_signal(signal.SIGINT)

    # then it ends without a traceback.
    assert demo.wait(60) == 0
    assert "Traceback" not in demo.stdout.read()
    demo.stdout.close()
    os.close(terminal)


def demo_output_in_readme() -> str:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    return readme.split("```text\n")[1].split("```")[0]


def without_numbers(output: str) -> list[str]:
    """The output without what differs from run to run: numbers, units, widths and paths."""
    text = re.sub(r"/?[\w/.-]*demo[\w-]*", "FOLDER", output)
    text = re.sub(r"[\d.:]+( [KM]iB)?", "N", text)
    return [re.sub(r"[ ━]+", " ", line) for line in text.splitlines()]
