"""Liveness, readiness and metrics routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from redis import RedisError
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gql_imgproc.database.migrations import UNUSABLE, schema_mismatch
from gql_imgproc.errors import ConfigurationError, StorageError, StoreNotConfirmed
from gql_imgproc.metrics import BACKEND_UP, ServiceMetricValues, render_all_metrics
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage import store_check
from gql_imgproc.storage.store_marker import check_marker
from gql_imgproc.system.process import STARTED_BY_HEADER
from gql_imgproc.web import service_metrics

log = logging.getLogger(__name__)

#: Deadline for each check, in seconds.
CHECK_SECONDS = 2


async def report_liveness(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def report_readiness(request: Request) -> Response:
    """Reports whether uploads can be accepted, which dependencies are missing, and what an operator has to decide."""
    runtime: Runtime = request.app.state.runtime
    names = ("database", "redis", "storage")
    *failures, warnings = await asyncio.gather(
        _run_check(_check_database(runtime)),
        _run_check(runtime.run_blocking(runtime.queue.ping)),
        _run_check(store_check.check_writable(runtime.storage)),
        _find_warnings(runtime),
    )
    failed = {name: failure for name, failure in zip(names, failures, strict=True) if failure}
    missing = {name: failure.message for name, failure in failed.items()}
    _log_change(request.app.state, {name: failure.reason for name, failure in failed.items()})
    headers = {"Cache-Control": "no-store"}
    if started_by := request.app.state.started_by:
        headers[STARTED_BY_HEADER] = started_by
    content = {"ready": not missing, "missing": missing, "warnings": warnings}
    return JSONResponse(content, 503 if missing else 200, headers)


async def report_metrics(request: Request) -> Response:
    """Returns Prometheus text. Metrics that cannot be read are omitted, since old values would look current."""
    runtime: Runtime = request.app.state.runtime
    readings: ServiceMetricValues = {}

    async def read(values: Awaitable[ServiceMetricValues]) -> None:
        readings.update(await values)

    database, redis, _ = await asyncio.gather(
        _run_check(read(service_metrics.read_database_metrics(runtime))),
        _run_check(read(service_metrics.read_redis_metrics(runtime))),
        _run_check(read(service_metrics.read_store_metrics(runtime))),
    )
    readings[BACKEND_UP] = {"database": float(database is None), "redis": float(redis is None)}
    return Response(render_all_metrics(readings), media_type=CONTENT_TYPE_LATEST)


def _log_change(state: State, reasons: dict[str, str]) -> None:
    """Logs one line when the missing dependencies change: probes may come many times a second."""
    before: set[str] = getattr(state, "missing", set())
    if reasons.keys() == before:
        return
    state.missing = set(reasons)
    if reasons:
        log.warning("not ready", extra=reasons)
    else:
        log.info("ready again")


async def _check_database(runtime: Runtime) -> None:
    if mismatch := await asyncio.to_thread(schema_mismatch, runtime.db):
        raise ConfigurationError(f"The database {mismatch}.")


async def _find_warnings(runtime: Runtime) -> dict[str, str]:
    """Problems that do not prevent uploads. What is missing is reported by the checks."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check_marker(runtime.db, runtime.storage)
    except StoreNotConfirmed as error:
        return {"storage": str(error)}
    except (TimeoutError, StorageError, *UNUSABLE):
        pass
    return {}


@dataclass(frozen=True, slots=True)
class _CheckFailure:
    """A failed check: a message for the response, and the reason for the log."""

    message: str
    reason: str


async def _run_check(check: Awaitable[object]) -> _CheckFailure | None:
    """Returns the failure of a check; None when it passes."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except TimeoutError:
        message = f"No response within {CHECK_SECONDS} s."
        return _CheckFailure(message, message)
    except ConfigurationError as error:
        return _CheckFailure(str(error), str(error))
    except (RedisError, StorageError, *UNUSABLE) as error:
        # A driver's message can have several lines and internal details.
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        return _CheckFailure("Unreachable or failing; see the log for the reason.", reason or type(error).__name__)
    return None
