"""Checks of commands, settings and URLs in deployment files against the code, and the commands of the documentation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from starlette.routing import Route

from gql_imgproc.cli.app import app
from gql_imgproc.settings import Settings, load
from gql_imgproc.web.app import create_app

ROOT = Path(__file__).parents[2]
#: User and group of the image.
USER_ID = 10001


def documented_commands(title: str) -> str:
    """The code block of docs/OPERATIONS.md with this marker."""
    document = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"<!-- test: {title} -->\n```sh\n(.*?)```", document, re.DOTALL)
    return str(block)


def tool_environment() -> dict[str, str]:
    """Returns an environment whose PATH starts with the tools of this project."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def render_chart(*options: str) -> str:
    """Renders the chart as `helm install` would."""
    if shutil.which("helm") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs helm")
    done = subprocess.run(
        ["helm", "template", "gql-imgproc", "deploy/helm", "--namespace=imgproc", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Loads the settings from environment variables; every `IMGPROC_` variable must exist."""
    names = {name for name in environment if name.startswith("IMGPROC_")}
    unknown = {name for name in names if name.removeprefix("IMGPROC_").lower() not in Settings.model_fields}
    assert unknown == set(), f"unknown settings {unknown}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("IMGPROC_")]:
            patch.delenv(name)
        for name in names:
            patch.setenv(name, environment[name])
        return load(_env_file=None)


def assert_valid_command(arguments: Sequence[str]) -> None:
    """Parses the command and its options without running it."""
    group = typer.main.get_command(app)
    context = group.make_context("gql-imgproc", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(name, rest, parent=context)


def assert_served(url: str, arguments: Sequence[str], settings: Settings) -> None:
    """A process with these arguments serves this URL."""
    parts = urlsplit(url)
    if arguments[0] == "api":
        assert parts.port == int(arguments[arguments.index("--port") + 1])
        assert parts.path in {route.path for route in create_app(settings).routes if isinstance(route, Route)}
    else:
        assert (arguments[0], parts.path) == ("worker", "/metrics")
        assert parts.port == settings.metrics_port


def assert_memory_fits(settings: Settings, limit_bytes: int) -> None:
    """A worker at its limit of virtual memory gets a MemoryError before the kernel kills it."""
    # 1.5 GiB of the virtual memory are never used. The master and files in /tmp need half a GiB.
    gib = 1024**3
    assert settings.worker_memory_bytes - 1.5 * gib + 0.5 * gib <= limit_bytes
