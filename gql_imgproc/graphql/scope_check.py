"""The scopes that an operation requires."""

from __future__ import annotations

from collections.abc import Iterator

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)

from gql_imgproc.graphql.types.field import RequiresScope, find_directive
from gql_imgproc.security.scopes import Scope

#: Scope of a root field without `@requires`.
_DEFAULT_SCOPES = {
    OperationType.QUERY: Scope.READ,
    OperationType.MUTATION: Scope.WRITE,
    OperationType.SUBSCRIPTION: Scope.READ,
}
#: Root fields that need no scope.
PUBLIC_FIELDS = frozenset({"viewer", "rateLimit", "limits", "__typename", "__schema", "__type"})


def required_scopes(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode
) -> dict[str, Scope]:
    """The root fields of an operation that require a scope, with that scope."""
    root = schema.get_root_type(operation.operation)
    scopes: dict[str, Scope] = {}
    for name in _root_fields(document, operation.selection_set):
        definition = root.fields.get(name) if root else None
        if definition is not None and name not in PUBLIC_FIELDS:
            requires = find_directive(definition, RequiresScope)
            scopes[name] = requires.scope if requires else _DEFAULT_SCOPES[operation.operation]
    return scopes


def _root_fields(document: DocumentNode, selections: SelectionSetNode) -> Iterator[str]:
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    pending, seen = [selections], set[str]()
    while pending:
        for node in pending.pop().selections:
            match node:
                case FieldNode():
                    yield node.name.value
                case InlineFragmentNode():
                    pending.append(node.selection_set)
                case FragmentSpreadNode() if (name := node.name.value) in fragments and name not in seen:
                    seen.add(name)
                    pending.append(fragments[name].selection_set)
