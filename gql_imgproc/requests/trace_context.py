"""Work on a request as a part of the trace that its upload began, whatever woke the worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from gql_imgproc import tracing
from gql_imgproc.ids import Kind, to_global
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Resources


@asynccontextmanager
async def traced(
    resources: Resources, name: str, request_id: UUID, kind: tracing.Kind = "CONSUMER"
) -> AsyncIterator[None]:
    """The block is a span of the request's trace: as the message says, or the request's row.

    A message may be lost, and one that a sweep sends knows of no trace; the row is always there.
    """
    if not tracing.is_on():
        yield
        return
    parent = tracing.travelling()
    if parent is None:
        parent = await resources.db.read(lambda connection: queries.traceparent(connection, request_id))
    with (
        tracing.carrying(parent),
        tracing.span(name, parent, kind, request=to_global(Kind.REQUEST, request_id)),
    ):
        yield
