"""Limits on documents, checked before execution.

A document is measured before its validation, which takes longer. Together the limits keep the CPU time of any document,
with its validation and its errors, below 0.2 s; tests/graphql/worst_case_documents.py has the worst documents known.
The length of lists without pages is only known during execution: see `query_cost.ResponseBudget`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    GraphQLField,
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
from gql_imgproc.graphql.query_cost import UPLOAD, CostVisitor, QueryCost
from gql_imgproc.graphql.types.field import RequiresScope, find_directive
from gql_imgproc.security.scopes import Scope

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
#: Uses of `__schema` and `__type`, aliases inside them, and lists of types in such lists; a full introspection has 1.
MAX_INTROSPECTION = 2
INTROSPECTION_DISABLED = (
    "Introspection is disabled. See schema.graphql in the repository, or set IMGPROC_INTROSPECTION=on on the server."
)

#: Scope of a root field without `@requiresScope`.
_DEFAULT_SCOPES = {
    OperationType.QUERY: Scope.READ,
    OperationType.MUTATION: Scope.WRITE,
    OperationType.SUBSCRIPTION: Scope.READ,
}
#: Root fields that need no scope.
PUBLIC_FIELDS = frozenset({"viewer", "rateLimit", "limits", "__typename", "__schema", "__type"})


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
        assert execution.graphql_document is not None
        errors = self._limit_errors(execution.graphql_document) or self._validation_errors(execution.graphql_document)
        execution.pre_execution_errors = errors or None
        # Strawberry would validate again, and return up to 100 errors.
        execution.validation_rules = ()
        yield

    def _limit_errors(self, document: DocumentNode) -> list[GraphQLError]:
        context, execution = self._context, self.execution_context
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
        if not operations:
            return []
        visitor = CostVisitor(execution.schema._schema, document, execution.variables or {})
        cost = visitor.visit_operation(operations[0])
        if missing := missing_scopes(operations[0].operation, visitor.root_fields, context.caller.scopes):
            return missing
        if cost.introspection and context.settings.introspection != "on":
            return [_limit_error(INTROSPECTION_DISABLED)]
        context.budget.limit -= cost.cost
        context.budget.entry_fields = cost.entry
        return exceeded_limits(cost, context.settings.max_query_cost)

    def _validation_errors(self, document: DocumentNode) -> list[GraphQLError]:
        execution = self.execution_context
        return validate(
            execution.schema._schema,
            document,
            (*execution.validation_rules, MaybeNullValidationRule, OneOfInputValidationRule),
            max_errors=MAX_ERRORS,
            # Suggestions ("Did you mean") would reveal the schema name by name.
            hide_suggestions=self._context.settings.introspection != "on",
        )

    def on_stream_result(self, result: StreamExecutionResult) -> Iterator[None]:
        # Each result of a subscription has the whole budget.
        self._context.budget.spent = 0
        yield

    @property
    def _context(self) -> Context:
        context = self.execution_context.context
        assert isinstance(context, Context)
        return context


def is_too_long(document: str | None) -> bool:
    return document is not None and len(document) > MAX_DOCUMENT_CHARS


def missing_scopes(
    operation: OperationType, root_fields: Mapping[str, GraphQLField], scopes: Collection[Scope]
) -> list[GraphQLError]:
    """One error for each root field whose scope the caller lacks."""
    required = {
        name: directive.scope if (directive := find_directive(each, RequiresScope)) else _DEFAULT_SCOPES[operation]
        for name, each in root_fields.items()
        if name not in PUBLIC_FIELDS
    }
    return [
        forbidden(f"`{name}` requires an API key with the scope {scope}.")
        for name, scope in required.items()
        if scope not in scopes
    ]


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
        ("introspection", cost.introspection, MAX_INTROSPECTION),
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
