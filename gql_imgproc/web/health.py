"""Is it alive, can it accept uploads, and how is it doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gql_imgproc.database.migrations import schema_mismatch
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.metrics import BACKEND_UP, ServiceMetricValues, render_all_metrics
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage import store_check
from gql_imgproc.web import service_metrics

log = logging.getLogger(__name__)

#: Deadline for each check, in seconds.
CHECK_SECONDS = 2


async def alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def ready(request: Request) -> Response:
    """Whether an upload would be accepted; if not, what is missing."""
    runtime: Runtime = request.app.state.runtime
    names = ("database", "redis", "storage")
    faults = await asyncio.gather(
        _fault(_check_database(runtime)),
        _fault(runtime.run_blocking(runtime.queue.ping)),
        _fault(store_check.check_writable(runtime.storage)),
    )
    missing = {name: fault.told for name, fault in zip(names, faults, strict=True) if fault}
    _log_change(request.app.state, {name: fault.reason for name, fault in zip(names, faults, strict=True) if fault})
    return JSONResponse(
        {"ready": not missing, "missing": missing}, 503 if missing else 200, {"Cache-Control": "no-store"}
    )


async def metrics(request: Request) -> Response:
    """Prometheus text. What cannot be asked for is absent: an old value would look like a new one."""
    runtime: Runtime = request.app.state.runtime
    readings: ServiceMetricValues = {}

    async def read(asked: Awaitable[ServiceMetricValues]) -> None:
        readings.update(await asked)

    faults = await asyncio.gather(
        _fault(read(service_metrics.read_database_metrics(runtime))),
        _fault(read(service_metrics.read_redis_metrics(runtime))),
    )
    readings[BACKEND_UP] = {
        name: float(fault is None) for name, fault in zip(("database", "redis"), faults, strict=True)
    }
    return Response(render_all_metrics(readings), media_type=CONTENT_TYPE_LATEST)


def _log_change(state: State, reasons: dict[str, str]) -> None:
    """One line when what is missing has changed: whoever asks may ask many times a second."""
    before: set[str] = getattr(state, "missing", set())
    if reasons.keys() == before:
        return
    state.missing = set(reasons)
    if reasons:
        log.warning("not ready", extra=reasons)
    else:
        log.info("ready again")


async def _check_database(runtime: Runtime) -> None:
    if misfit := await asyncio.to_thread(schema_mismatch, runtime.db):
        raise ConfigurationError(f"The database {misfit}.")


@dataclass(frozen=True, slots=True)
class _CheckFailure:
    """What is wrong: a sentence for whoever asks, and the reason for the log."""

    told: str
    reason: str


async def _fault(check: Awaitable[object]) -> _CheckFailure | None:
    """What is wrong; None when all is well."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except TimeoutError:
        late = f"No answer within {CHECK_SECONDS} s."
        return _CheckFailure(late, late)
    except ConfigurationError as error:
        return _CheckFailure(str(error), str(error))
    except (RedisError, SQLAlchemyError, OSError) as error:
        # What a driver says may have several lines, and more than strangers should read.
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        return _CheckFailure(
            "It cannot be reached or does not work; the log has the reason.", reason or type(error).__name__
        )
    return None
