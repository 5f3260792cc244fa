"""What the files of an installation say about ours: checked against the code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import pytest
import typer
from starlette.routing import Route

from gql_imgproc.cli import app
from gql_imgproc.settings import Settings, load
from gql_imgproc.web.app import create_app


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Reads the variables as a process with these would; each must be one that is read."""
    ours = {name for name in environment if name.startswith("IMGPROC_")}
    unknown = {name for name in ours if name.removeprefix("IMGPROC_").lower() not in Settings.model_fields}
    assert unknown == set(), f"nobody reads {unknown}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("IMGPROC_")]:
            patch.delenv(name)
        for name in ours:
            patch.setenv(name, environment[name])
        return load(_env_file=None)


def assert_understood(arguments: Sequence[str]) -> None:
    """The command and each of its options exist, with values that they take; nothing is run."""
    group = typer.main.get_command(app)
    context = group.make_context("gql-imgproc", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
    assert command is not None
    command.make_context(name, rest, parent=context)


def assert_served(url: str, arguments: Sequence[str], settings: Settings) -> None:
    """What is started so answers at this address."""
    where = urlsplit(url)
    if arguments[0] == "api":
        assert where.port == int(arguments[arguments.index("--port") + 1])
        assert where.path in {route.path for route in create_app(settings).routes if isinstance(route, Route)}
    else:
        assert (arguments[0], where.path) == ("worker", "/metrics")
        assert where.port == settings.metrics_port


def assert_memory_fits(settings: Settings, limit_bytes: int) -> None:
    """A worker that uses all the address space it may is refused memory by itself, and not killed."""
    # Of the address space 1.5 GiB are never touched; its master and what it keeps in /tmp have half a GiB.
    gib = 1024**3
    assert settings.worker_memory_bytes - 1.5 * gib + 0.5 * gib <= limit_bytes
