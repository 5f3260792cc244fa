"""deploy/systemd, checked by systemd's tools. `test_systemd_run.py` runs the units."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.installation import ROOT, assert_memory_fits, assert_valid_command, settings_of

FOLDER = ROOT / "deploy/systemd"
UNITS = sorted(FOLDER.glob("*.service"))
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / "environment.example").read_text(encoding="utf-8"), re.MULTILINE))
COMMAND = "/opt/gql-imgproc/bin/gql-imgproc"
#: Maximum exposure level of `systemd-analyze security`, in tenths of a point: 0 to 100.
MAX_EXPOSURE = 15


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
