"""Limits on documents, checked before execution.

A document is measured before its validation, which takes longer. Together the limits keep the CPU time of any document,
with its validation and its errors, below 0.2 s; tests/graphql/worst_case_documents.py has the worst documents known.
The length of lists without pages is only known during execution: see `query_cost.Allowance`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    parse,
    validate,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.execution import StreamExecutionResult

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.errors import Code, forbidden
from gql_imgproc.graphql.query_cost import INTROSPECTION_DISABLED, UPLOAD, CostAnalyzer, QueryCost
from gql_imgproc.graphql.scope_check import required_scopes
from gql_imgproc.settings import Settings

#: Depth of nested fields; the introspection query of GraphiQL has 15 levels.
MAX_DEPTH = 20
#: Aliases in one operation, with fragments expanded: more are an attempt to run one field many times.
MAX_ALIASES = 50
#: Directives in one operation, with fragments expanded.
MAX_DIRECTIVES = 50
#: Uses of one response name in the whole document. Validation compares fields of one name in pairs.
MAX_REPEATS = 75
#: Tokens in one document; the introspection query of GraphiQL has 200.
MAX_TOKENS = 1_000
#: Characters in one document. To locate an error, graphql-core counts the lines from the start.
MAX_DOCUMENT_CHARS = 50_000
#: Errors returned for one document. Each computes suggestions and prints the invalid value.
MAX_ERRORS = 10
#: Entries in a response about the schema itself; a full introspection has 14,300.
MAX_INTROSPECTION = 18_000


def is_subscription(query: str, name: str | None) -> bool:
    """Whether the operation to run is a subscription."""
    # Parse only the few documents with this word.
    return "subscription" in query and select_operation(query, name) is OperationType.SUBSCRIPTION


def select_operation(query: str, name: str | None) -> OperationType | None:
    """The type of the operation to run."""
    if is_too_long(query):
        return None
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError):
        return None
    operations = _operations(document, name)
    return operations[0].operation if operations else None


def _operations(document: DocumentNode, name: str | None) -> list[OperationDefinitionNode]:
    """The operations with this name; all when it is None."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return [node for node in operations if name is None or (node.name and node.name.value == name)]


class QueryLimitsExtension(SchemaExtension):
    """Rejects a document that exceeds a limit, before its validation."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = MAX_TOKENS
        yield

    def on_parse(self) -> Iterator[None]:
        if is_too_long(self.execution_context.query):
            raise _limit_error(
                f"The document has more than {MAX_DOCUMENT_CHARS} characters. Split it, and pass values as variables."
            )
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        execution.pre_execution_errors = self._limit_errors() or self._validation_errors() or None
        # Strawberry would validate again, and return up to 100 errors.
        execution.validation_rules = ()
        yield

    def _limit_errors(self) -> list[GraphQLError]:
        execution, settings = self.execution_context, self._settings
        document = execution.graphql_document
        assert document is not None
        # Without a name, Strawberry's `operation_name` is that of the first operation.
        operations = _operations(document, execution._provided_operation_name)
        if len(operations) > 1:
            # Strawberry would run the first one.
            return [_limit_error("The document has several operations. Set `operationName` to the one to run.")]
        if repeated := most_repeated(document):
            return [
                _limit_error(
                    f"`{repeated}` occurs more than {MAX_REPEATS} times in the document. Request fewer fields."
                )
            ]
        if missing := self._missing_scopes(operations):
            return missing
        analyzer = CostAnalyzer(execution.schema._schema, document, execution.variables or {})
        costs = [analyzer.operation(node) for node in operations]
        if settings.introspection != "on" and any(cost.introspection for cost in costs):
            return [_limit_error(INTROSPECTION_DISABLED)]
        for cost in costs:
            self._context.allowance.charge_document(cost.cost, cost.of_entry)
        return [error for cost in costs for error in exceeded_limits(cost, settings.max_query_cost)]

    def _missing_scopes(self, operations: Sequence[OperationDefinitionNode]) -> list[GraphQLError]:
        execution, scopes = self.execution_context, self._context.caller.scopes
        assert execution.graphql_document is not None
        schema = execution.schema._schema
        return [
            forbidden(f"`{field}` requires an API key with the scope {scope}.")
            for operation in operations
            for field, scope in required_scopes(schema, execution.graphql_document, operation).items()
            if scope not in scopes
        ]

    def _validation_errors(self) -> list[GraphQLError]:
        execution = self.execution_context
        document = execution.graphql_document
        assert document is not None
        return validate(
            execution.schema._schema,
            document,
            (*execution.validation_rules, MaybeNullValidationRule, OneOfInputValidationRule),
            max_errors=MAX_ERRORS,
            # Suggestions ("Did you mean") would reveal the schema name by name.
            hide_suggestions=self._settings.introspection != "on",
        )

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        self._context.allowance.renew()
        yield

    @property
    def _context(self) -> Context:
        context = self.execution_context.context
        assert isinstance(context, Context)
        return context

    @property
    def _settings(self) -> Settings:
        return self._context.settings


def is_too_long(document: str | None) -> bool:
    return document is not None and len(document) > MAX_DOCUMENT_CHARS


def most_repeated(document: DocumentNode) -> str | None:
    """A response name that occurs too often in the document; unused fragments count too."""
    uses: Counter[str] = Counter()
    pending = [node.selection_set for node in document.definitions if isinstance(node, ExecutableDefinitionNode)]
    while pending:
        for node in pending.pop().selections:
            if isinstance(node, FieldNode):
                uses[(node.alias or node.name).value] += 1
            if isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
                pending.append(node.selection_set)
    return next((name for name, count in uses.items() if count > MAX_REPEATS), None)


def exceeded_limits(cost: QueryCost, max_cost: int) -> list[GraphQLError]:
    """One error for each exceeded limit."""
    limits = [
        ("depth", cost.depth, MAX_DEPTH),
        ("number of aliases", cost.aliases, MAX_ALIASES),
        ("number of directives", cost.directives, MAX_DIRECTIVES),
        ("cost", cost.cost, max_cost),
        ("introspection", math.ceil(cost.introspection), MAX_INTROSPECTION),
    ]
    errors = [
        _limit_error(
            f"The {what} of the operation is {value}, but the limit is {limit}. Request smaller pages or fewer fields."
        )
        for what, value, limit in limits
        if value > limit
    ]
    if cost.uploads > 1:
        errors.append(_limit_error(f"The operation has `{UPLOAD}` {cost.uploads} times. Upload one file per request."))
    return errors


def _limit_error(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": Code.VALIDATION_FAILED.value})
