"""What of the API needs which scope of a key."""

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

from gql_imgproc.graphql.types.field import RequiresScope, directive
from gql_imgproc.security.scopes import Scope

#: What the fields of a root type need that say nothing else.
_USUAL = {
    OperationType.QUERY: Scope.READ,
    OperationType.MUTATION: Scope.WRITE,
    OperationType.SUBSCRIPTION: Scope.READ,
}
#: What every caller may ask: about itself, and what holds for all.
PUBLIC_FIELDS = frozenset({"viewer", "rateLimit", "limits", "__typename", "__schema", "__type"})


def required_scopes(
    schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode
) -> dict[str, Scope]:
    """The root fields of an operation that need a scope, and which."""
    root = schema.get_root_type(operation.operation)
    found: dict[str, Scope] = {}
    for name in _root_fields(document, operation.selection_set):
        definition = root.fields.get(name) if root else None
        if definition is not None and name not in PUBLIC_FIELDS:
            marked = directive(definition, RequiresScope)
            found[name] = marked.scope if marked else _USUAL[operation.operation]
    return found


def _root_fields(document: DocumentNode, selections: SelectionSetNode) -> Iterator[str]:
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    left, seen = [selections], set[str]()
    while left:
        for node in left.pop().selections:
            match node:
                case FieldNode():
                    yield node.name.value
                case InlineFragmentNode():
                    left.append(node.selection_set)
                case FragmentSpreadNode() if (name := node.name.value) in fragments and name not in seen:
                    seen.add(name)
                    left.append(fragments[name].selection_set)
