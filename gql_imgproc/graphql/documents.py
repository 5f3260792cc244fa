"""What a document asks for, before it is executed."""

from __future__ import annotations

from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

from gql_imgproc.graphql.cost import MAX_TOKENS, too_long


def is_subscription(query: str, name: str | None) -> bool:
    """Whether the operation that would be run is a subscription."""
    return chosen_operation(query, name) is OperationType.SUBSCRIPTION


def chosen_operation(query: str, name: str | None) -> OperationType | None:
    """The kind of the operation that would be run."""
    if too_long(query):
        return None
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError):
        return None
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    chosen = [node for node in operations if name is None or (node.name and node.name.value == name)]
    return chosen[0].operation if chosen else None
