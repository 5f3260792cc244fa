"""What is counted of GraphQL: queries and mutations by their field at the root, under names that the schema has."""

from __future__ import annotations

import time
from collections.abc import Iterator

from graphql import FieldNode, GraphQLError, OperationDefinitionNode
from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from gql_imgproc.graphql.errors import Code
from gql_imgproc.metrics import OPERATION_SECONDS, OPERATIONS

#: Instead of a field: a document that could not be read, one that asks for several, one that has fragments there.
UNREAD, SEVERAL = "unread", "several"
_INTROSPECTION = {"__schema", "__type", "__typename"}


class MetricsExtension(SchemaExtension):
    """Counts each operation but subscriptions, which are counted by who follows them, and how long it took."""

    def on_operation(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        kind, field = self._named()
        if kind == OperationType.SUBSCRIPTION.value:
            return
        OPERATIONS.labels(kind, field, _outcome(self.execution_context.result)).inc()
        OPERATION_SECONDS.labels(kind, field).observe(time.perf_counter() - began)

    def _named(self) -> tuple[str, str]:
        """Type and field of the operation; whatever a stranger wrote, there are as many of them as the schema has."""
        document = self.execution_context.graphql_document
        name = self.execution_context._provided_operation_name
        operations = [
            node
            for node in (document.definitions if document else ())
            if isinstance(node, OperationDefinitionNode) and (name is None or (node.name and node.name.value == name))
        ]
        if len(operations) != 1:
            return UNREAD, UNREAD
        (operation,) = operations
        kind = operation.operation.value
        root = self.execution_context.schema._schema.get_root_type(operation.operation)
        selections = operation.selection_set.selections
        if len(selections) != 1 or not isinstance(selections[0], FieldNode):
            return kind, SEVERAL
        field = selections[0].name.value
        known = field in _INTROSPECTION or (root is not None and field in root.fields)
        return kind, field if known else UNREAD


def _outcome(result: object) -> str:
    """`failed` by a fault of ours, `refused` by one of the caller's."""
    errors: list[GraphQLError] = getattr(result, "errors", None) or []
    if not errors:
        return "ok"
    return "failed" if any((error.extensions or {}).get("code") == Code.INTERNAL for error in errors) else "refused"
