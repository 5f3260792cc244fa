"""Metrics of queries and mutations, by root field."""

from __future__ import annotations

import time
from collections.abc import Iterator

from graphql import FieldNode, GraphQLError, OperationDefinitionNode
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from gql_imgproc.graphql.errors import Code
from gql_imgproc.metrics import OPERATION_SECONDS, OPERATIONS

#: Labels in place of a root field: the document could not be parsed or names no field of the schema; it selects
#: several fields, or a fragment.
UNKNOWN, MULTIPLE = "unknown", "multiple"
_INTROSPECTION = {"__schema", "__type", "__typename"}
#: Codes of errors of the service.
_FAILURES = {Code.INTERNAL, Code.SERVICE_UNAVAILABLE}


class MetricsExtension(SchemaExtension):
    """Counts and times queries and mutations. Subscriptions are counted by `SharedSubscriptions`."""

    def on_operation(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        kind, field = self._operation_labels()
        if kind == OperationType.SUBSCRIPTION.value:
            return
        OPERATIONS.labels(kind, field, _outcome(self.execution_context.result)).inc()
        OPERATION_SECONDS.labels(kind, field).observe(time.perf_counter() - started)

    def _operation_labels(self) -> tuple[str, str]:
        """Operation type and root field, limited to names in the schema to bound label cardinality."""
        document = self.execution_context.graphql_document
        name = self.execution_context._provided_operation_name
        operations = [
            node
            for node in (document.definitions if document else ())
            if isinstance(node, OperationDefinitionNode) and (name is None or (node.name and node.name.value == name))
        ]
        if len(operations) != 1:
            return UNKNOWN, UNKNOWN
        (operation,) = operations
        kind = operation.operation.value
        root = self.execution_context.schema._schema.get_root_type(operation.operation)
        selections = operation.selection_set.selections
        if len(selections) != 1 or not isinstance(selections[0], FieldNode):
            return kind, MULTIPLE
        field = selections[0].name.value
        is_known = field in _INTROSPECTION or (root is not None and field in root.fields)
        return kind, field if is_known else UNKNOWN


def _outcome(result: object) -> str:
    """`failed` for an error of the service, `refused` for an error of the caller."""
    errors: list[GraphQLError] = getattr(result, "errors", None) or []
    if not errors:
        return "ok"
    return "failed" if any((error.extensions or {}).get("code") in _FAILURES for error in errors) else "refused"
