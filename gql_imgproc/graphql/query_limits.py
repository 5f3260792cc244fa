"""Limits on documents, checked before execution.

A document is measured before its validation, which takes longer. Together the limits keep the CPU time of any document,
with its validation and its errors, below 0.2 s; tests/graphql/worst_case_documents.py has the worst documents known.
The length of lists without pages is only known during execution: see `query_cost.ResponseBudget`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    OperationType,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.documents import MAX_CACHED_DOCUMENTS, Operation, parse_document, select_operation
from gql_imgproc.graphql.errors import Code, coded_error, validation_failed
from gql_imgproc.graphql.query_cost import UPLOAD, CostVisitor, QueryCost, size_of
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


def check_document(schema: GraphQLSchema, operation: Operation, context: Context) -> Sequence[GraphQLError]:
    """Why the operation must not be executed; empty if it may be. Charges its cost to the budget of the response."""
    document, node = operation.document, operation.node
    assert document is not None
    assert node is not None
    if repeated := most_repeated(document):
        return [
            validation_failed(
                f"`{repeated}` occurs more than {MAX_REPEATS} times in the document. Request fewer fields."
            )
        ]
    variables = operation.variables or {}
    names = [each.variable.name.value for each in node.variable_definitions or ()]
    sizes = frozenset((name, size_of(variables[name])) for name in names if name in variables)
    cost, root_fields = _measure(schema, operation.query, operation.name, sizes)
    if missing := missing_scopes(node.operation, root_fields, context.caller.scopes):
        return missing
    introspection = context.settings.introspection == "on"
    if cost.introspection and not introspection:
        return [validation_failed(INTROSPECTION_DISABLED)]
    context.budget.limit -= cost.cost
    context.budget.entry_fields = cost.entry
    # Suggestions ("Did you mean") would reveal the schema name by name.
    return exceeded_limits(cost, context.settings.max_query_cost) or _validate(
        schema, operation.query, hide_suggestions=not introspection
    )


@lru_cache(maxsize=MAX_CACHED_DOCUMENTS)
def _measure(
    schema: GraphQLSchema, query: str, name: str | None, sizes: frozenset[tuple[str, int | None]]
) -> tuple[QueryCost, Mapping[str, GraphQLField]]:
    """The cost of an operation, and the root fields it selects. The values of variables matter only by their sizes."""
    document = parse_document(query)
    visitor = CostVisitor(schema, document, dict(sizes))
    return visitor.visit_operation(select_operation(document, name)), visitor.root_fields


@lru_cache(maxsize=MAX_CACHED_DOCUMENTS)
def _validate(schema: GraphQLSchema, query: str, *, hide_suggestions: bool) -> Sequence[GraphQLError]:
    rules = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
    document = parse_document(query)
    errors = validate(schema, document, rules, max_errors=MAX_ERRORS, hide_suggestions=hide_suggestions)
    for error in errors:
        # Errors in variables have no path either, but another code.
        error.extensions = {"code": Code.VALIDATION_FAILED.value}
    return errors


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
        coded_error(Code.FORBIDDEN, f"`{name}` requires an API key with the scope {scope}.")
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
        validation_failed(
            f"The {what} of the operation is {value}, but the limit is {limit}. Request smaller pages or fewer fields."
        )
        for what, value, limit in limits
        if value > limit
    ]
    if cost.uploads > 1:
        errors.append(
            validation_failed(f"The operation has `{UPLOAD}` {cost.uploads} times. Upload one file per request.")
        )
    return errors
