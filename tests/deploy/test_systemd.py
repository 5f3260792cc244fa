"""deploy/systemd: read by systemd's own tools, and what it starts is started."""

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
from gql_imgproc.standalone.server_address import check_port
from tests.acceptance.conftest import environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.deploy.dockerfile import ROOT
from tests.deploy.installation import assert_memory_fits, assert_understood, settings_of

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "environment.example").read_text(encoding="utf-8"), re.MULTILINE))
COMMAND = "/opt/gql-imgproc/.venv/bin/gql-imgproc"
#: The worst exposure that `systemd-analyze security` may find, in its tenths of a point: 0 to 100.
MOST_EXPOSED = 15
#: Becomes its arguments, as `MemoryDenyWriteExecute=yes` and `NoNewPrivileges=yes` have it, where the kernel can.
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
    """The units, as systemd would find them; what they start is not where they say, on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    folder = tmp_path / "units"
    shutil.copytree(FOLDER, folder)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text(encoding="utf-8").replace(COMMAND, sys.executable), encoding="utf-8")
        if "@" in unit.name:
            unit.rename(unit.with_name(unit.name.replace("@", "@1")))
    return folder


def analyzed(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *command],
        env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin", "SYSTEMD_LOG_LEVEL": "warning"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_systemd_understands_every_line(installed: Path) -> None:
    units = sorted(map(str, installed.glob("*.service")))
    assert len(units) == 3

    said = analyzed(["verify", "--man=no", "--recursive-errors=no", *units], installed)

    assert said == ""


def test_little_of_the_machine_is_open_to_them(installed: Path) -> None:
    for unit in installed.glob("*.service"):
        analyzed(["security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", str(unit)], installed)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_what_is_started_and_set_is_understood(unit: Path) -> None:
    assert_understood(arguments(unit))

    settings = settings_of(EXAMPLE | dict(entry.split("=", 1) for entry in values(unit, "Environment")))

    assert "worker" not in unit.name or settings.cpu_slots == 1
    if "worker" in unit.name:
        (most,) = values(unit, "MemoryMax")
        assert_memory_fits(settings, int(most.removesuffix("G")) * 1024**3)
    (state,) = values(FOLDER / "gql-imgproc-.service.d/hardened.conf", "StateDirectory")
    assert str(settings.data_dir) == f"/var/lib/{state}"


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_what_the_units_start_does_its_work_under_their_restrictions(redis_url: str, tmp_path: Path) -> None:
    # Given pictures, one of each format, since each has a decoder and an encoder of its own,
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    names = [name for sample in sample_images.CATALOGUE for name in sample.images]
    for name in {name.rpartition(".")[2]: name for name in names}.values():
        (pictures / name).write_bytes(sample_images.render_sample(name))
    port = check_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"

    def started(unit: str) -> list[str]:
        given = arguments(FOLDER / unit)
        return [sys.executable, "-c", HARDENED, *(str(port) if each == "8000" else each for each in given)]

    with serve_images(pictures) as pictures_port, (tmp_path / "log").open("wb") as log:
        ours = environment(
            REDIS_URL=redis_url,
            PUBLIC_URL=url,
            DATA_DIR=str(tmp_path / "data"),
            CPU_SLOTS="1",
            FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            FETCH_ALLOW_PORTS=str(pictures_port),
        )

        # when the three are started as their units start them,
        subprocess.run(started("gql-imgproc-migrate.service"), env=ours, check=True, timeout=60)
        parts = [
            subprocess.Popen(started(unit), env=ours, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            for unit in ("gql-imgproc-api.service", "gql-imgproc-worker@.service")
        ]
        try:
            # then an upload is done, with every picture,
            wait_until_ready(url)
            manifest = tmp_path / "products.csv"
            addresses = ",".join(f"http://127.0.0.1:{pictures_port}/{path.name}" for path in pictures.iterdir())
            manifest.write_text(f'S. No.,Product Name,Input Image Urls\n1,All,"{addresses}"\n')
            submit = [sys.executable, "-m", "gql_imgproc", "submit", str(manifest), "--url", url]
            done = subprocess.run(
                [*submit, "--output", str(tmp_path / "out.csv")],
                env=ours,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
            assert (tmp_path / "out.csv").read_text().count(f"{url}/api/image/") == len(list(pictures.iterdir())) == 6
        finally:
            # and told to stop they end well.
            for part in parts:
                part.send_signal(signal.SIGTERM)
            statuses = [part.wait(20) for part in parts]
    assert statuses == [0, 0], (tmp_path / "log").read_text()
