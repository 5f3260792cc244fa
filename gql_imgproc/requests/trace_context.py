"""Continues the trace of an upload in the work on its request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from gql_imgproc import tracing
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Runtime
from gql_imgproc.tracing import SpanKind


@asynccontextmanager
async def request_span(
    runtime: Runtime, name: str, request_id: UUID, kind: SpanKind = SpanKind.CONSUMER
) -> AsyncIterator[None]:
    """Runs the block in a span of the request's trace, which continues that of its upload."""
    if not tracing.is_enabled():
        yield
        return
    parent = await runtime.db.read(queries.get_traceparent, request_id)
    with tracing.start_span(name, parent, kind, request=encode_global_id(IdPrefix.REQUEST, request_id)):
        yield
