"""`make dev`: Redis, an API and a worker that restart when the code changes, and the page with hot reload."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

from dev import DATA_DIR, ENVIRONMENT, HOST, PORT, URL
from gql_imgproc import log
from gql_imgproc.database import migrations
from gql_imgproc.errors import ImgprocError
from gql_imgproc.settings import load
from gql_imgproc.standalone import embedded_redis
from gql_imgproc.standalone.data_dir import check_writable, lock_data_dir
from gql_imgproc.standalone.server_address import check_port
from gql_imgproc.standalone.supervisor import ChildProcess, Program, stop, wait_until_failed

PAGE_PORT = 5173
FRONTEND = Path("frontend")
#: Time for the children to stop after Ctrl-C, in seconds.
STOP_S = 5.0


def reloading(name: str, *arguments: str) -> Program:
    """A `gql-imgproc` command that restarts whenever a Python file of the package changes."""
    command = shlex.join([sys.executable, "-m", "gql_imgproc", *arguments])
    watch = (sys.executable, "-m", "watchfiles", "--filter", "python", "--target-type", "command")
    return Program(name, (*watch, command, "gql_imgproc"), is_essential=True)


def page() -> Program | None:
    """Vite's development server; None where node or the page's packages are missing."""
    npm = shutil.which("npm")
    if npm is None or not (FRONTEND / "node_modules").is_dir():
        return None
    return Program("Page", (npm, "--prefix", str(FRONTEND), "run", "dev", "--", "--port", str(PAGE_PORT)))


async def serve() -> None:
    stopped, at_once = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    children: list[ChildProcess] = []
    with ExitStack() as stack:
        stack.enter_context(lock_data_dir(DATA_DIR))
        redis = stack.enter_context(embedded_redis.prepare())
        try:
            children.append(ChildProcess(redis.program))
            await redis.wait_until_ready(children[0])
            os.environ["IMGPROC_REDIS_URL"] = redis.url
            settings = load()
            embedded_redis.save_url(settings, redis.url)
            stack.callback(embedded_redis.forget_url, settings)
            await asyncio.to_thread(migrations.upgrade, settings.database)
            children.append(ChildProcess(reloading("API", "api", "--host", HOST, "--port", str(PORT))))
            children.append(ChildProcess(reloading("Worker", "worker", "--processes", "1")))
            hot = page()
            if hot is not None:
                children.append(ChildProcess(hot))
            where = f"http://{HOST}:{PAGE_PORT}/static/" if hot else f"{URL}/ (no npm or packages: without hot reload)"
            print(f"API      {URL}/graphql\nPage     {where}\nData     {DATA_DIR}\nSamples  make seed\nCtrl-C ends all")
            failed = asyncio.create_task(wait_until_failed(children))
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait([failed, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if failed.done():
                failed.result()
            failed.cancel()
        finally:
            # Redis last: the worker returns its leases through it.
            await stop(children[1:], STOP_S, at_once=at_once)
            await stop(children[:1], STOP_S, at_once=at_once)


def main() -> None:
    os.environ.update(ENVIRONMENT)
    log.set_up("INFO", "console")
    check_writable(DATA_DIR)
    try:
        check_port(HOST, PORT)
        asyncio.run(serve())
    except ImgprocError as error:
        sys.exit(f"make dev: {error}")


if __name__ == "__main__":
    main()
