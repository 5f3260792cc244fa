"""Commands that serve: `up`, `api`, `worker`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from gql_imgproc import log
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.settings import load
from gql_imgproc.standalone.preflight import (
    anonymous_policy,
    check_keys,
    check_port,
    check_writable,
    reachable_url_of,
)
from gql_imgproc.standalone.up import worker_command, worker_environment
from gql_imgproc.system.process import cpu_count

#: Where `up` and `api` listen unless told otherwise.
HOST, PORT = "127.0.0.1", 8000

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 for any that is free.", min=0, max=65_535)]
Open = Annotated[
    bool, typer.Option("--allow-anonymous", help="Ask nobody for an API key, even when listening for other machines.")
]
SkipChecks = Annotated[bool, typer.Option("--unchecked", hidden=True, help="Redis and all were checked by `up`.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=1, max=65_535, help="Port of the first process's metrics.", show_default="IMGPROC_METRICS_PORT, else none"
    ),
]
Processes = Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes.", show_default="cores")]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(api)
    app.command()(worker)


def up(
    host: Host = HOST,
    port: Port = PORT,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for database and files.", show_default="./data")] = None,
    workers: Processes = None,
    allow_anonymous: Open = False,
) -> None:
    """Run everything on this machine: API, workers and, if none is configured, Redis."""
    # Each command pays for its own imports only.
    from gql_imgproc.standalone.up import Standalone

    settings = load(**({"data_dir": data_dir} if data_dir else {}))
    log.set_up(settings.log_level, settings.log_format)
    check_writable(settings.data_dir)
    machine = Standalone(settings, host, check_port(host, port), workers or cpu_count(), allow_anonymous)
    asyncio.run(machine.run(say=typer.echo))


def api(host: Host = HOST, port: Port = PORT, allow_anonymous: Open = False, unchecked: SkipChecks = False) -> None:
    """Run the API alone; it needs Redis, and workers that use the same database and storage."""
    from gql_imgproc.web import server
    from gql_imgproc.web.app import create_app

    settings = load()
    log.set_up(settings.log_level, settings.log_format)
    loopback = is_loopback(host)
    anonymous = anonymous_policy(host, allow_anonymous=allow_anonymous)
    port = check_port(host, port)
    if not unchecked:
        from gql_imgproc.standalone import preflight

        asyncio.run(preflight.check(settings))
        check_keys(settings.database, host, anonymous)
    if not settings.is_set("public_url"):
        settings = load(public_url=reachable_url_of(host, port))
    if settings.introspection == "auto":
        settings = settings.model_copy(update={"introspection": "on" if loopback else "off"})
    # The server stops in order, then sends itself the signal again; to have stopped is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run(create_app(settings, loopback_only=loopback, anonymous=anonymous), host, port)


def worker(processes: Processes = None, metrics_port: MetricsPort = None) -> None:
    """Run workers alone: `dramatiq worker_main` with our defaults."""
    from gql_imgproc.standalone import preflight

    settings = load(**({"metrics_port": metrics_port} if metrics_port else {}))
    log.set_up(settings.log_level, settings.log_format)
    asyncio.run(preflight.check(settings))
    number = processes or cpu_count()
    command = worker_command(settings, number)
    os.environ.update(worker_environment(settings, number))
    os.environ["IMGPROC_METRICS_PORT"] = str(settings.metrics_port)
    if not settings.is_set("public_url"):
        # Output CSVs are written by workers, who cannot see where the API listens.
        os.environ["IMGPROC_PUBLIC_URL"] = url = reachable_url_of(HOST, PORT)
        typer.echo(f"IMGPROC_PUBLIC_URL is not set, so addresses in output CSVs will begin with {url}", err=True)
    os.execv(command[0], command)
