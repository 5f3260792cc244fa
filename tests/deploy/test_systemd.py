"""deploy/systemd, checked by systemd's tools; the commands of the units are run."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from tests.acceptance.conftest import environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.deploy.dockerfile import ROOT
from tests.deploy.installation import assert_memory_fits, assert_valid_command, settings_of
from tests.support.free_port import free_port

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "environment.example").read_text(encoding="utf-8"), re.MULTILINE))
COMMAND = "/opt/gql-imgproc/.venv/bin/gql-imgproc"
#: Maximum exposure level of `systemd-analyze security`, in tenths of a point: 0 to 100.
MAX_EXPOSURE = 15
#: Runs its arguments with `MemoryDenyWriteExecute=yes` and `NoNewPrivileges=yes`, where the kernel supports them.
HARDENED = (
    "import ctypes, os, sys; prctl = ctypes.CDLL(None).prctl; prctl(65, 1, 0, 0, 0); prctl(38, 1, 0, 0, 0); "
    "os.umask(0o77); os.execv(sys.executable, [sys.executable, '-m', 'gql_imgproc', *sys.argv[1:]])"
)


def values(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)


def arguments(unit: Path) -> list[str]:
    (line,) = values(unit, "ExecStart")
    command, *rest = shlex.split(line)
    assert command == COMMAND
    return rest


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Copies the units, with a command that exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    folder = tmp_path / "units"
    shutil.copytree(FOLDER, folder)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text(encoding="utf-8").replace(COMMAND, sys.executable), encoding="utf-8")
        if "@" in unit.name:
            unit.rename(unit.with_name(unit.name.replace("@", "@1")))
    return folder


def run_analyze(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *command],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


def test_systemd_accepts_the_units(installed: Path) -> None:
    units = sorted(map(str, installed.glob("*.service")))
    assert len(units) == 3

    output = run_analyze(["verify", "--man=no", "--recursive-errors=no", *units], installed)

    assert output == ""


def test_units_have_a_low_exposure_level(installed: Path) -> None:
    for unit in installed.glob("*.service"):
        run_analyze(["security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(unit)], installed)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_commands_and_settings_are_valid(unit: Path) -> None:
    assert_valid_command(arguments(unit))

    settings = settings_of(EXAMPLE | dict(entry.split("=", 1) for entry in values(unit, "Environment")))

    assert "worker" not in unit.name or settings.cpu_slots == 1
    if "worker" in unit.name:
        (memory_max,) = values(unit, "MemoryMax")
        assert_memory_fits(settings, int(memory_max.removesuffix("G")) * 1024**3)
    (state,) = values(FOLDER / "gql-imgproc-.service.d/hardened.conf", "StateDirectory")
    assert str(settings.data_dir) == f"/var/lib/{state}"


@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_units_process_an_upload_under_their_restrictions(redis_url: str, tmp_path: Path) -> None:
    # Given one image of each format, since each has its own decoder and encoder,
    images = tmp_path / "images"
    images.mkdir()
    names = [name for sample in sample_images.CATALOGUE for name in sample.images]
    for name in {name.rpartition(".")[2]: name for name in names}.values():
        (images / name).write_bytes(sample_images.render_sample(name))
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def hardened_command(unit: str) -> list[str]:
        unit_arguments = arguments(FOLDER / unit)
        return [sys.executable, "-c", HARDENED, *(str(port) if each == "8000" else each for each in unit_arguments)]

    with serve_images(images) as image_port, (tmp_path / "log").open("wb") as log:
        variables = environment(
            REDIS_URL=redis_url,
            PUBLIC_URL=url,
            DATA_DIR=str(tmp_path / "data"),
            CPU_SLOTS="1",
            FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            FETCH_ALLOW_PORTS=str(image_port),
        )

        # when the commands of the three units run,
        subprocess.run(hardened_command("gql-imgproc-migrate.service"), env=variables, check=True, timeout=60)
        processes = [
            subprocess.Popen(hardened_command(unit), env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for unit in ("gql-imgproc-api.service", "gql-imgproc-worker@.service")
        ]
        try:
            # then an upload is processed with every image,
            wait_until_ready(url)
            csv_path = tmp_path / "products.csv"
            urls = ",".join(f"http://127.0.0.1:{image_port}/{path.name}" for path in images.iterdir())
            csv_path.write_text(f'S. No.,Product Name,Input Image Urls\n1,All,"{urls}"\n')
            submit = [sys.executable, "-m", "gql_imgproc", "submit", str(csv_path), "--url", url]
            submitted = subprocess.run(
                [*submit, "--output", str(tmp_path / "out.csv")],
                env=variables,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert submitted.returncode == 0, submitted.stderr + (tmp_path / "log").read_text()
            assert (tmp_path / "out.csv").read_text().count(f"{url}/api/image/") == len(list(images.iterdir())) == 6
        finally:
            # and SIGTERM stops them with status 0.
            for process in processes:
                process.send_signal(signal.SIGTERM)
            statuses = [process.wait(20) for process in processes]
    assert statuses == [0, 0], (tmp_path / "log").read_text()
