"""Metrics of queries and mutations, by root field."""

from __future__ import annotations

import time

from graphql import FieldNode, GraphQLSchema
from strawberry.types import ExecutionResult

from gql_imgproc.graphql.documents import Operation
from gql_imgproc.graphql.errors import Code
from gql_imgproc.metrics import OPERATION_SECONDS, OPERATIONS

#: Labels in place of a root field: the document has no single operation or names no field of the schema; it selects
#: several fields, or a fragment.
UNKNOWN, MULTIPLE = "unknown", "multiple"
_INTROSPECTION = {"__schema", "__type", "__typename"}
#: Codes of errors of the service.
_FAILURES = {Code.INTERNAL, Code.SERVICE_UNAVAILABLE}


def record(schema: GraphQLSchema, operation: Operation, result: ExecutionResult, started: float) -> None:
    """Counts and times a query or mutation that started at `started`, a time of `time.perf_counter`."""
    kind, field = _labels(schema, operation)
    OPERATIONS.labels(kind, field, _outcome(result)).inc()
    OPERATION_SECONDS.labels(kind, field).observe(time.perf_counter() - started)


def _labels(schema: GraphQLSchema, operation: Operation) -> tuple[str, str]:
    """Operation type and root field, limited to names in the schema to bound label cardinality."""
    if operation.node is None:
        return UNKNOWN, UNKNOWN
    kind = operation.node.operation
    selections = operation.node.selection_set.selections
    if len(selections) != 1 or not isinstance(selections[0], FieldNode):
        return kind.value, MULTIPLE
    field, root = selections[0].name.value, schema.get_root_type(kind)
    is_known = field in _INTROSPECTION or (root is not None and field in root.fields)
    return kind.value, field if is_known else UNKNOWN


def _outcome(result: ExecutionResult) -> str:
    """`failed` for an error of the service, `refused` for an error of the caller."""
    if not result.errors:
        return "ok"
    return "failed" if any((error.extensions or {}).get("code") in _FAILURES for error in result.errors) else "refused"
