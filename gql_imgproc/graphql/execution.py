"""Executes operations, whatever the transport: checks the document, masks errors and records metrics."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from graphql import OperationType
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gql_imgproc.graphql import operation_metrics
from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.documents import Operation, too_deep
from gql_imgproc.graphql.errors import mask_error
from gql_imgproc.graphql.query_limits import check_document
from gql_imgproc.graphql.schema import schema

R = TypeVar("R", bound=ExecutionResult)


async def execute(operation: Operation, context: Context) -> ExecutionResult:
    """The result of a query or a mutation; a PreExecutionError if its document is refused."""
    started = time.perf_counter()
    result = _refuse(operation, context) or _masked(
        await schema.execute(operation.query, operation.variables, context, operation_name=operation.name)
    )
    operation_metrics.record(schema._schema, operation, result, started)
    return result


async def stream(operation: Operation, context: Context) -> AsyncGenerator[ExecutionResult]:
    """The results of a subscription as they come, or the only result of another operation.

    Equal subscriptions are executed once.
    """
    if operation.kind is not OperationType.SUBSCRIPTION:
        yield await execute(operation, context)
        return
    if refused := _refuse(operation, context):
        yield refused
        return
    # `default=id`: a file equals only itself.
    arguments = json.dumps([operation.query, operation.name, operation.variables], sort_keys=True, default=id)
    state, caller = context.app_state, context.caller
    subscription = state.shared_subscriptions.subscribe(
        (caller.access_key, arguments),
        partial(_subscribe, operation, context),
        partial(state.authenticator.watch_session, caller),
    )
    async with aclosing(subscription) as results:
        async for result in results:
            yield result


async def _subscribe(operation: Operation, context: Context) -> AsyncGenerator[ExecutionResult]:
    async with aclosing(
        await schema.subscribe(operation.query, operation.variables, context, operation_name=operation.name)
    ) as results:
        async for result in results:
            # Each result of a subscription has the whole budget.
            context.budget.spent = 0
            yield _masked(result)


def _refuse(operation: Operation, context: Context) -> PreExecutionError | None:
    """The errors of a document that must not be executed."""
    try:
        errors = [operation.error] if operation.error else check_document(schema._schema, operation, context)
    except RecursionError:
        errors = [too_deep()]
    return _masked(PreExecutionError(None, list(errors))) if errors else None


def _masked(result: R) -> R:
    if result.errors:
        result.errors = [mask_error(error) for error in result.errors]
    return result
