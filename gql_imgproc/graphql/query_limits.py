"""What a document asks for, before it is executed, and what it may ask for.

Measured before it is validated, which takes longer. Together the limits keep any document, with its validation and its
errors, below 0.2 s of CPU; tests/graphql/worst_case_documents.py has the worst that were found. The length of lists
without pages is known only later: see `query_cost.Allowance`.
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

#: Fields within fields: the introspection query of GraphiQL has 15 levels.
MAX_DEPTH = 20
#: Aliases in one operation, fragments expanded: more are an attempt to run one field many times.
MAX_ALIASES = 50
#: Directives in one operation, fragments expanded.
MAX_DIRECTIVES = 50
#: Times that one name of the answer stands in the whole document. Validation compares fields of one name in pairs.
MAX_REPEATS = 75
#: Words and brackets in one document; GraphiQL's introspection has 200.
MAX_TOKENS = 1_000
#: Characters in one document. The place of each error is found by counting lines from the start.
MAX_DOCUMENT_CHARS = 50_000
#: Errors of one document that are told. Each looks for what may have been meant, and prints what was.
MAX_ERRORS = 10
#: Entries of an answer about the schema itself, at most; a full introspection of this one comes to 14,300.
MAX_INTROSPECTION = 18_000


def is_subscription(query: str, name: str | None) -> bool:
    """Whether the operation that would be run is a subscription."""
    # Few documents have the word, and only those are worth reading.
    return "subscription" in query and select_operation(query, name) is OperationType.SUBSCRIPTION


def select_operation(query: str, name: str | None) -> OperationType | None:
    """The kind of the operation that would be run."""
    if is_too_long(query):
        return None
    try:
        document = parse(query, max_tokens=MAX_TOKENS)
    except (GraphQLError, RecursionError):
        return None
    chosen = _operations(document, name)
    return chosen[0].operation if chosen else None


def _operations(document: DocumentNode, name: str | None) -> list[OperationDefinitionNode]:
    """Those with the name; all without one."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return [node for node in operations if name is None or (node.name and node.name.value == name)]


class QueryLimitsExtension(SchemaExtension):
    """Refuses a document that is over a limit before anything else is done with it, and validates the others."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = MAX_TOKENS
        yield

    def on_parse(self) -> Iterator[None]:
        if is_too_long(self.execution_context.query):
            raise _refusal(
                f"The document has more than {MAX_DOCUMENT_CHARS} characters. "
                "Ask for less at once, and give values as variables."
            )
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        execution.pre_execution_errors = self._refusals() or self._faults() or None
        # Strawberry would validate again, and tell up to 100 faults.
        execution.validation_rules = ()
        yield

    def _refusals(self) -> list[GraphQLError]:
        execution, settings = self.execution_context, self._settings
        document = execution.graphql_document
        assert document is not None
        # Strawberry's own `operation_name` is that of the first, if none was given.
        chosen = _operations(document, execution._provided_operation_name)
        if len(chosen) > 1:
            # Strawberry would run the first, which may not be the one that was meant.
            return [_refusal("The document has several operations. Name the one to run in `operationName`.")]
        if repeated := most_repeated(document):
            return [
                _refusal(f"`{repeated}` stands more than {MAX_REPEATS} times in the document. Ask for less at once.")
            ]
        if missing := self._missing(chosen):
            return missing
        measurer = CostAnalyzer(execution.schema._schema, document, execution.variables or {})
        measures = [measurer.operation(node) for node in chosen]
        if settings.introspection != "on" and any(measure.introspection for measure in measures):
            return [_refusal(INTROSPECTION_DISABLED)]
        for measure in measures:
            self._context.allowance.measured(measure.cost, measure.of_entry)
        return [error for measure in measures for error in exceeded_limits(measure, settings.max_query_cost)]

    def _missing(self, chosen: Sequence[OperationDefinitionNode]) -> list[GraphQLError]:
        """What the caller's key is not good for."""
        execution, scopes = self.execution_context, self._context.caller.scopes
        assert execution.graphql_document is not None
        schema = execution.schema._schema
        return [
            forbidden(f"`{field}` needs an API key with the scope {scope}.")
            for operation in chosen
            for field, scope in required_scopes(schema, execution.graphql_document, operation).items()
            if scope not in scopes
        ]

    def _faults(self) -> list[GraphQLError]:
        execution = self.execution_context
        document = execution.graphql_document
        assert document is not None
        return validate(
            execution.schema._schema,
            document,
            (*execution.validation_rules, MaybeNullValidationRule, OneOfInputValidationRule),
            max_errors=MAX_ERRORS,
            # "Did you mean" would tell the schema word by word.
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
    """A name of the answer that stands more often in the document than it may; what is never used counts as well."""
    times: Counter[str] = Counter()
    sets = [node.selection_set for node in document.definitions if isinstance(node, ExecutableDefinitionNode)]
    while sets:
        for node in sets.pop().selections:
            if isinstance(node, FieldNode):
                times[(node.alias or node.name).value] += 1
            if isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
                sets.append(node.selection_set)
    return next((name for name, count in times.items() if count > MAX_REPEATS), None)


def exceeded_limits(measure: QueryCost, max_cost: int) -> list[GraphQLError]:
    """Which limits a measure is over."""
    over = [
        ("depth", measure.depth, MAX_DEPTH),
        ("number of aliases", measure.aliases, MAX_ALIASES),
        ("number of directives", measure.directives, MAX_DIRECTIVES),
        ("cost", measure.cost, max_cost),
        ("introspection", math.ceil(measure.introspection), MAX_INTROSPECTION),
    ]
    told = [
        _refusal(
            f"The {what} of the operation is {value}, over the limit of {limit}. Ask for smaller pages or fewer fields."
        )
        for what, value, limit in over
        if value > limit
    ]
    if measure.uploads > 1:
        told.append(_refusal(f"The operation has `{UPLOAD}` {measure.uploads} times. Send one file per request."))
    return told


def _refusal(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": Code.VALIDATION_FAILED.value})
