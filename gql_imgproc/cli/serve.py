"""Commands that run the service: `up`, `api`, `worker`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gql_imgproc.settings import Settings

#: Where `up` and `api` listen by default.
HOST, PORT = "127.0.0.1", 8000

Host = Annotated[str, typer.Option(help="IP address or host name to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 for any free port.", min=0, max=65_535)]
AllowAnonymous = Annotated[
    bool, typer.Option("--allow-anonymous", help="Accept requests without an API key, even from other machines.")
]
StartedBy = Annotated[str, typer.Option(hidden=True, help="Token of the `up` that starts it and has made the checks.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=65_535,
        help="Metrics port of the first worker process.",
        show_default="IMGPROC_METRICS_PORT, else none",
    ),
]
Processes = Annotated[
    int | None, typer.Option(min=1, max=256, help="Number of worker processes.", show_default="cores")
]


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(api)
    app.command()(worker)


def up(
    host: Host = HOST,
    port: Port = PORT,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for database and files.", show_default="./data")] = None,
    workers: Processes = None,
    allow_anonymous: AllowAnonymous = False,
) -> None:
    """Run everything on this machine: the API, workers and, if none is configured, Redis.

    \b
    Examples:
      gql-imgproc up
      gql-imgproc up --host 0.0.0.0 --port 80 --data-dir /var/lib/imgproc
    """
    import asyncio

    from gql_imgproc.standalone.data_dir import check_writable
    from gql_imgproc.standalone.server_address import check_port
    from gql_imgproc.standalone.up import Standalone
    from gql_imgproc.system.process import cpu_count

    settings = _load(**({"data_dir": data_dir} if data_dir else {}))
    check_writable(settings.data_dir)
    standalone = Standalone(settings, host, check_port(host, port), workers or cpu_count(), allow_anonymous)
    asyncio.run(standalone.run(echo=typer.echo))


def api(
    host: Host = HOST, port: Port = PORT, allow_anonymous: AllowAnonymous = False, started_by: StartedBy = ""
) -> None:
    """Run only the API. It needs Redis, and workers with the same database and storage.

    \b
    Example:
      IMGPROC_REDIS_URL=redis://redis/0 gql-imgproc api --host 0.0.0.0
    """
    import asyncio

    from gql_imgproc.net.loopback import is_loopback
    from gql_imgproc.settings import load
    from gql_imgproc.standalone import preflight
    from gql_imgproc.standalone.server_address import check_port, reachable_url
    from gql_imgproc.web import server
    from gql_imgproc.web.app import create_app

    settings = _load()
    is_local = is_loopback(host)
    anonymous = preflight.anonymous_policy(host, allow_anonymous=allow_anonymous)
    port = check_port(host, port)
    if not started_by:
        asyncio.run(preflight.check_dependencies(settings))
        preflight.check_keys(settings.database, host, anonymous)
    if not settings.is_set("public_url"):
        settings = load(public_url=reachable_url(host, port))
    if settings.introspection == "auto":
        settings = settings.model_copy(update={"introspection": "on" if is_local else "off"})
    # The server stops in order, then raises the signal again. That is a successful exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = create_app(settings, loopback_only=is_local, anonymous=anonymous, started_by=started_by)
    server.run(app, host, port)


def worker(processes: Processes = None, metrics_port: MetricsPort = None) -> None:
    """Run only workers: `dramatiq worker_main` with the defaults of this project.

    \b
    Example:
      IMGPROC_PUBLIC_URL=https://images.example gql-imgproc worker --processes 4
    """
    import asyncio

    from gql_imgproc.standalone import preflight
    from gql_imgproc.standalone.server_address import reachable_url
    from gql_imgproc.standalone.worker_command import worker_command, worker_environment
    from gql_imgproc.system.process import cpu_count

    settings = _load(**({"metrics_port": metrics_port} if metrics_port else {}))
    asyncio.run(preflight.check_dependencies(settings))
    processes = processes or cpu_count()
    command = worker_command(processes)
    os.environ.update(worker_environment(settings, processes))
    os.environ["IMGPROC_METRICS_PORT"] = str(settings.metrics_port)
    if not settings.is_set("public_url"):
        # Workers write the output CSVs, and do not know where the API listens.
        os.environ["IMGPROC_PUBLIC_URL"] = url = reachable_url(HOST, PORT)
        typer.echo(f"IMGPROC_PUBLIC_URL is not set. URLs in output CSVs will start with {url}", err=True)
    os.execv(command[0], command)


def _load(**overrides: Any) -> Settings:
    """Reads the settings, sets up the log and logs deprecated settings."""
    from gql_imgproc import log
    from gql_imgproc.settings import load

    settings = load(**overrides)
    log.set_up(settings.log_level, settings.log_format)
    settings.log_deprecations()
    return settings
