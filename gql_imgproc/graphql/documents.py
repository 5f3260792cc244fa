"""Documents, parsed once, and the operation to execute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType, parse

from gql_imgproc.graphql.errors import NO_DOCUMENT, Code, coded_error, validation_failed

#: Tokens in one document; the introspection query of GraphiQL has 200.
MAX_TOKENS = 1_000
#: Characters in one document. To locate an error, graphql-core counts the lines from the start.
MAX_DOCUMENT_CHARS = 50_000
#: Parsed documents that a process keeps; the largest take 0.6 MB each. The least recently used one is dropped first.
MAX_CACHED_DOCUMENTS = 100


class OperationNotFound(GraphQLError):
    """The document has no operation, or none with the requested name."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that a client sent. It has either a document and its selected node, or an error."""

    query: str
    variables: dict[str, Any] | None = None
    name: str | None = None
    document: DocumentNode | None = None
    node: OperationDefinitionNode | None = None
    error: GraphQLError | None = None

    @property
    def kind(self) -> OperationType | None:
        return self.node.operation if self.node else None


def parse_operation(query: str, variables: dict[str, Any] | None, name: str | None) -> Operation:
    try:
        document = parse_document(query)
        return Operation(query, variables, name, document, select_operation(document, name))
    except GraphQLError as error:
        return Operation(query, variables, name, error=error)


@lru_cache(maxsize=MAX_CACHED_DOCUMENTS)
def parse_document(text: str) -> DocumentNode:
    """Raises GraphQLError."""
    if not text.strip():
        raise validation_failed(NO_DOCUMENT)
    if len(text) > MAX_DOCUMENT_CHARS:
        raise validation_failed(
            f"The document has more than {MAX_DOCUMENT_CHARS} characters. Split it, and pass values as variables."
        )
    try:
        return parse(text, max_tokens=MAX_TOKENS)
    except RecursionError:
        raise too_deep() from None


def select_operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The operation with this name, or the only one. Raises GraphQLError if there is none or more than one."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    named = [node for node in operations if name is None or (node.name and node.name.value == name)]
    if len(named) > 1:
        raise validation_failed("The document has several operations. Set `operationName` to the one to run.")
    if not named:
        raise OperationNotFound(
            "The document has no operation. Add one, for instance a query."
            if name is None
            else f"Unknown operation named {name[:100]!r}. Correct or omit `operationName`.",
            extensions={"code": Code.VALIDATION_FAILED.value},
        )
    return named[0]


def too_deep() -> GraphQLError:
    return coded_error(Code.PARSE_FAILED, "The document is nested too deeply.")
