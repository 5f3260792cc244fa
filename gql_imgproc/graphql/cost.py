"""Limits on a document: how long and deep it is, how many aliases and directives it has, what it costs to answer.

Each fragment is measured once, however often it is used: the effort grows with the length of the document,
never with what it expands to. Measured before the document is validated, which takes longer.

Together they keep any document, with its validation and its errors, below 0.2 s of CPU; tests/graphql/test_cost.py
has the worst that were found.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    validate,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule
from strawberry.types.field import StrawberryField

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.faults import Code
from gql_imgproc.graphql.fields import Cost
from gql_imgproc.graphql.introspection import NOT_TOLD, sizes, tells_of_schema
from gql_imgproc.graphql.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
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
#: Entries of an answer about the schema itself, at most; a full introspection of this one comes to 19,000.
MAX_INTROSPECTION = 24_000


@dataclass(frozen=True, slots=True)
class Measure:
    """What a selection amounts to."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    #: Entries of the answer that tell of the schema itself, at most.
    introspection: float = 0


class Measurer:
    """Measures selections of one document with the values of its variables.

    What `@skip` or `@include` may leave out counts as well. Says nothing about a document that does not fit the
    schema; validation will.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._measured: dict[tuple[str, bool], Measure] = {}

    def operation(self, node: OperationDefinitionNode) -> Measure:
        self._defaults = {
            definition.variable.name.value: _integer(definition.default_value)
            for definition in node.variable_definitions or ()
        }
        inside = self._selections(node.selection_set, self._schema.get_root_type(node.operation))
        own = len(node.directives or ()) + sum(len(each.directives or ()) for each in node.variable_definitions or ())
        return replace(inside, directives=own + inside.directives)

    def _selections(
        self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None, *, all_types: bool = False
    ) -> Measure:
        """`all_types`: whether this is what is asked of each type of the schema."""
        cost = depth = aliases = directives = 0
        introspection = 0.0
        for node in selections.selections if selections else ():
            match node:
                case FieldNode():
                    part = self._field(node, parent, all_types=all_types)
                case FragmentSpreadNode():
                    part = self._fragment(node.name.value, all_types=all_types)
                case InlineFragmentNode():
                    condition = node.type_condition
                    narrowed = self._schema.get_type(condition.name.value) if condition else parent
                    part = self._selections(node.selection_set, narrowed, all_types=all_types)
                case _:
                    continue
            cost += part.cost
            depth = max(depth, part.depth)
            aliases += part.aliases
            directives += len(node.directives or ()) + part.directives
            introspection += part.introspection
        return Measure(cost, depth, aliases, directives, introspection)

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, *, all_types: bool) -> Measure:
        name = node.name.value
        definition = _definition(self._schema, parent, name)
        kind = get_named_type(definition.type) if definition else None
        about_all = name == "types" or (all_types and name in ("fields", "inputFields", "args"))
        inside = self._selections(node.selection_set, kind, all_types=about_all)
        times = self._page_size(node) if definition and "first" in definition.args else 1
        entries = inside.introspection
        if tells_of_schema(parent, name):
            entries = 1 + sizes(self._schema).of(name, all_types=all_types) * entries
        return Measure(
            cost=_weight(definition) + times * inside.cost,
            depth=1 + inside.depth,
            aliases=(node.alias is not None) + inside.aliases,
            directives=inside.directives,
            introspection=entries,
        )

    def _fragment(self, name: str, *, all_types: bool) -> Measure:
        key = name, all_types
        if key not in self._measured:
            # A fragment that contains itself is refused by validation; here it just must not go round for ever.
            self._measured[key] = Measure()
            if fragment := self._fragments.get(name):
                parent = self._schema.get_type(fragment.type_condition.name.value)
                inside = self._selections(fragment.selection_set, parent, all_types=all_types)
                own = len(fragment.directives or ())
                self._measured[key] = replace(inside, directives=own + inside.directives)
        return self._measured[key]

    def _page_size(self, node: FieldNode) -> int:
        sizes = [
            size
            for argument in node.arguments or ()
            if argument.name.value in ("first", "last")
            if (size := self._number(argument.value)) is not None
        ]
        # One that is out of range is refused when the field is resolved.
        return min(max(sizes[0], 0), MAX_PAGE_SIZE) if sizes else DEFAULT_PAGE_SIZE

    def _number(self, value: Any) -> int | None:
        if isinstance(value, VariableNode):
            name = value.name.value
            given = self._variables.get(name, self._defaults.get(name))
            return int(given) if isinstance(given, int | float) and math.isfinite(given) else None
        return _integer(value)


def _integer(node: Any) -> int | None:
    # One with more digits than a page size can have is refused when the field is resolved.
    return int(node.value[:5]) if isinstance(node, IntValueNode) else None


def _definition(schema: GraphQLSchema, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if name == "__schema" or name == "__type":
        return schema.get_field(schema.query_type, name) if schema.query_type else None
    return parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None


def _weight(definition: GraphQLField | None) -> int:
    declared = definition.extensions.get("strawberry-definition") if definition else None
    if isinstance(declared, StrawberryField):
        for directive in declared.directives:
            if isinstance(directive, Cost):
                return directive.weight
    return 1


class DocumentLimits(SchemaExtension):
    """Refuses a document that is over a limit before anything else is done with it, and validates the others."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = MAX_TOKENS
        yield

    def on_parse(self) -> Iterator[None]:
        if too_long(self.execution_context.query):
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
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if len(operations) > 1 and execution._provided_operation_name is None:
            # Strawberry would run the first, which may not be the one that was meant.
            return [_refusal("The document has several operations. Name the one to run in `operationName`.")]
        name = execution.operation_name
        chosen = [node for node in operations if len(operations) == 1 or (node.name and node.name.value == name)]
        if repeated := most_repeated(document):
            return [
                _refusal(f"`{repeated}` stands more than {MAX_REPEATS} times in the document. Ask for less at once.")
            ]
        measurer = Measurer(execution.schema._schema, document, execution.variables or {})
        measures = [measurer.operation(node) for node in chosen]
        if settings.introspection != "on" and any(measure.introspection for measure in measures):
            return [_refusal(NOT_TOLD)]
        return [error for measure in measures for error in refusals(measure, settings.max_query_cost)]

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

    @property
    def _settings(self) -> Settings:
        context = self.execution_context.context
        assert isinstance(context, Context)
        return context.settings


def too_long(document: str | None) -> bool:
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


def refusals(measure: Measure, max_cost: int) -> list[GraphQLError]:
    """Which limits a measure is over."""
    over = [
        ("depth", measure.depth, MAX_DEPTH),
        ("number of aliases", measure.aliases, MAX_ALIASES),
        ("number of directives", measure.directives, MAX_DIRECTIVES),
        ("cost", measure.cost, max_cost),
        ("introspection", math.ceil(measure.introspection), MAX_INTROSPECTION),
    ]
    return [
        _refusal(
            f"The {what} of the operation is {value}, over the limit of {limit}. Ask for smaller pages or fewer fields."
        )
        for what, value, limit in over
        if value > limit
    ]


def _refusal(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": Code.VALIDATION_FAILED.value})
