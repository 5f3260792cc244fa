"""The package: its source distribution and wheel, and the demo from the wheel on a machine with nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.deploy.installation import ROOT, tool_environment

# The build and each installation download packages.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TWINE, PIPX = "twine==7.0.0", "pipx==1.18.4"


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Runs a command without settings of the service; its standard output."""
    inherited = {name: value for name, value in tool_environment().items() if not name.startswith("IMGPROC_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=inherited | uv_index() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uv_index() -> dict[str, str]:
    """uv does not read pip's configuration, so a mirror that is set there is passed to it, as in .ci/setup."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    return {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution; both are in its folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(["uv", "build", "--quiet", "--no-create-gitignore", "--out-dir", folder], ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_wheel_has_page_migrations_and_license(wheel: Path) -> None:
    run(["uvx", TWINE, "check", "--strict", *wheel.parent.iterdir()], ROOT)
    names = ZipFile(wheel).namelist()

    assert len(list(wheel.parent.glob("*.tar.gz"))) == 1
    assert {re.sub(r"-[\d.]+\.", ".", name.split("/")[0]) for name in names} == {
        *("gql_imgproc", "gql_imgproc.dist-info", "worker_main.py")
    }
    assert {f"gql_imgproc/{name}" for name in ("web/static/index.html", "py.typed", "alembic/env.py")} < set(names)
    assert sum(name.endswith("/licenses/LICENSE") for name in names) == 1
    migrations = {path.name for path in (ROOT / "alembic/versions").glob("*.py")}
    assert migrations == {Path(name).name for name in names if "/alembic/versions/" in name}


@pytest.mark.parametrize("installer", ["pip", "uvx", "pipx"])
def test_demo_runs_from_the_wheel_in_an_empty_folder(wheel: Path, installer: str, tmp_path: Path) -> None:
    tools, folder = tmp_path / "tools", tmp_path / "empty"
    folder.mkdir()
    if installer == "pip":
        run([sys.executable, "-m", "venv", tools], folder)
        run([tools / "bin/pip", "install", "--quiet", wheel], folder)
        command = [tools / "bin/gql-imgproc"]
    elif installer == "uvx":
        command = ["uvx", "--python", sys.executable, "--from", wheel, "gql-imgproc"]
    else:
        command = ["uvx", PIPX, "run", "--spec", wheel, "gql-imgproc"]

    output = run([*command, "demo"], folder, PIPX_HOME=str(tools / "pipx"))

    assert "30 images in " in output
    assert [entry.name for entry in folder.iterdir()] == ["data"]
