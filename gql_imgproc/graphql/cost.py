"""Limits on a document: how deep it is, how many aliases it has, and what it costs to answer.

Each fragment is measured once, however often it is used: the effort grows with the length of the document,
never with what it expands to. Measured before the document is validated, which takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
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
)
from strawberry.extensions import SchemaExtension
from strawberry.types.field import StrawberryField

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.faults import Code
from gql_imgproc.graphql.fields import Cost
from gql_imgproc.graphql.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

#: Fields within fields: the introspection query of GraphiQL has 15 levels.
MAX_DEPTH = 20
#: Aliases in one operation, fragments expanded: more are an attempt to run one field many times.
MAX_ALIASES = 50
#: Words and brackets in one document: GraphiQL's introspection has 200, and validating twice as many as here can
#: take the better part of a second.
MAX_TOKENS = 1_000


@dataclass(frozen=True, slots=True)
class Measure:
    """What a selection amounts to."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0


class Measurer:
    """Measures selections of one document with the values of its variables.

    Says nothing about a document that does not fit the schema; validation will.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._measured: dict[str, Measure] = {}

    def operation(self, node: OperationDefinitionNode) -> Measure:
        self._defaults = {
            definition.variable.name.value: _integer(definition.default_value)
            for definition in node.variable_definitions or ()
        }
        return self._selections(node.selection_set, self._schema.get_root_type(node.operation))

    def _selections(self, selections: SelectionSetNode | None, parent: GraphQLNamedType | None) -> Measure:
        cost = depth = aliases = 0
        for node in selections.selections if selections else ():
            match node:
                case FieldNode():
                    part = self._field(node, parent)
                case FragmentSpreadNode():
                    part = self._fragment(node.name.value)
                case InlineFragmentNode():
                    condition = node.type_condition
                    narrowed = self._schema.get_type(condition.name.value) if condition else parent
                    part = self._selections(node.selection_set, narrowed)
                case _:
                    continue
            cost += part.cost
            depth = max(depth, part.depth)
            aliases += part.aliases
        return Measure(cost, depth, aliases)

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None) -> Measure:
        definition = _definition(self._schema, parent, node.name.value)
        inside = self._selections(node.selection_set, get_named_type(definition.type) if definition else None)
        times = self._page_size(node) if definition and "first" in definition.args else 1
        return Measure(
            _weight(definition) + times * inside.cost, 1 + inside.depth, (node.alias is not None) + inside.aliases
        )

    def _fragment(self, name: str) -> Measure:
        if name not in self._measured:
            # A fragment that contains itself is refused by validation; here it just must not go round for ever.
            self._measured[name] = Measure()
            if fragment := self._fragments.get(name):
                parent = self._schema.get_type(fragment.type_condition.name.value)
                self._measured[name] = self._selections(fragment.selection_set, parent)
        return self._measured[name]

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
    """Refuses a document that is over a limit before anything else is done with it."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.parse_options["max_tokens"] = MAX_TOKENS
        yield

    def on_validate(self) -> Iterator[None]:
        self.execution_context.pre_execution_errors = self._refusals() or None
        yield

    def _refusals(self) -> list[GraphQLError]:
        execution = self.execution_context
        document, context = execution.graphql_document, execution.context
        assert document is not None
        assert isinstance(context, Context)
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if len(operations) > 1 and execution._provided_operation_name is None:
            # Strawberry would run the first, which may not be the one that was meant.
            return [_refusal("The document has several operations. Name the one to run in `operationName`.")]
        name = execution.operation_name
        chosen = [node for node in operations if len(operations) == 1 or (node.name and node.name.value == name)]
        measurer = Measurer(execution.schema._schema, document, execution.variables or {})
        return [
            error for node in chosen for error in refusals(measurer.operation(node), context.settings.max_query_cost)
        ]


def refusals(measure: Measure, max_cost: int) -> list[GraphQLError]:
    """Which limits a measure is over."""
    over = [
        ("depth", measure.depth, MAX_DEPTH),
        ("number of aliases", measure.aliases, MAX_ALIASES),
        ("cost", measure.cost, max_cost),
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
