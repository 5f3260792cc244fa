"""Measures a document before it is executed, and what its response may spend on lists without pages.

Each fragment is measured once, however often it is used, so the effort grows with the length of the document and not
with its expanded size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_introspection_type,
)
from graphql.language import ast

from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from gql_imgproc.graphql.types.field import Cost, find_directive

#: The field that uploads a file. Its real cost grows with the file.
UPLOAD = "uploadCsv"
#: An argument without an index, and its cost: names are scanned until the page is full.
SEARCH, SEARCH_COST = "nameContains", 200
#: Introspection fields of the root type, and the lists of a type that lead to further types.
INTROSPECTION_ROOTS = frozenset({"__schema", "__type"})
_TYPE_LISTS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
#: Cost of an entry in a list without pages, and of each selected field of it. A total of 5,000 needs up to 0.15 s of
#: CPU time (`benchmarks/documents.py`).
ENTRY_COST, FIELD_COST = 1.0, 0.1


class QueryCost(NamedTuple):
    """The measures of a selection, with its fragments expanded."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    #: Uses of `__schema` and `__type`, and what multiplies their response: aliases, and lists of types in such lists.
    introspection: int = 0
    #: Lists of a type that lead to further types.
    type_lists: int = 0
    #: Number of uploads. The document does not show the work of one.
    uploads: int = 0
    #: The largest cost of one entry in a list without pages.
    entry: int = 0


@dataclass(slots=True)
class ResponseBudget:
    """What the cost of the document leaves for lists without pages, whose length only the data shows.

    A product has up to 100 images. Counted in advance, a page of 100 products with their images would never be allowed.
    """

    limit: float
    entry_fields: int = 0
    spent: float = 0

    def charge(self, entries: int, cost: float | None = None) -> None:
        """Charges for the entries of a list before they are read; `cost`: of one, instead of that of its fields."""
        self.spent += entries * (ENTRY_COST + self.entry_fields * FIELD_COST if cost is None else cost)
        if self.spent > self.limit:
            raise bad_input("The response is too large. Request smaller pages, or fewer fields of each image.")


@dataclass(slots=True)
class CostVisitor:
    """Measures one operation of a document with the values of its variables.

    Fields with `@skip` or `@include` count in full. Fields that are not in the schema are left to validation.
    """

    schema: GraphQLSchema
    document: ast.DocumentNode
    variables: Mapping[str, Any]
    #: The fields of the root type that the operation selects.
    root_fields: dict[str, GraphQLField] = field(default_factory=dict)
    _root: GraphQLObjectType | None = None
    _defaults: dict[str, ast.ValueNode | None] = field(default_factory=dict)
    _fragments: dict[str, ast.FragmentDefinitionNode] = field(default_factory=dict)
    _measured: dict[str, QueryCost] = field(default_factory=dict)

    def visit_operation(self, node: ast.OperationDefinitionNode) -> QueryCost:
        definitions = node.variable_definitions or ()
        self._root = self.schema.get_root_type(node.operation)
        self._defaults = {each.variable.name.value: each.default_value for each in definitions}
        self._fragments = {
            each.name.value: each for each in self.document.definitions if isinstance(each, ast.FragmentDefinitionNode)
        }
        inside = self._visit_selections(node.selection_set, self._root)
        return _with_directives(inside, node, *definitions)

    def _visit_selections(self, selections: ast.SelectionSetNode | None, parent: GraphQLNamedType | None) -> QueryCost:
        nodes = selections.selections if selections else ()
        return _sum([_with_directives(self._visit(node, parent), node) for node in nodes])

    def _visit(self, node: ast.SelectionNode, parent: GraphQLNamedType | None) -> QueryCost:
        match node:
            case ast.FieldNode():
                return self._visit_field(node, parent)
            case ast.FragmentSpreadNode():
                return self._visit_fragment(node.name.value)
            case ast.InlineFragmentNode(type_condition=condition):
                narrowed = self.schema.get_type(condition.name.value) if condition else parent
                return self._visit_selections(node.selection_set, narrowed)
        return QueryCost()

    def _visit_fragment(self, name: str) -> QueryCost:
        if name not in self._measured:
            # Ends the recursion of a fragment that contains itself; validation rejects it.
            self._measured[name] = QueryCost()
            if fragment := self._fragments.get(name):
                kind = self.schema.get_type(fragment.type_condition.name.value)
                inside = self._visit_selections(fragment.selection_set, kind)
                self._measured[name] = _with_directives(inside, fragment)
        return self._measured[name]

    def _visit_field(self, node: ast.FieldNode, parent: GraphQLNamedType | None) -> QueryCost:
        name = node.name.value
        definition = self._definition(parent, name)
        if definition is not None and parent is self._root:
            self.root_fields[name] = definition
        inside = self._visit_selections(node.selection_set, get_named_type(definition.type) if definition else None)
        arguments = {each.name.value: each.value for each in node.arguments or ()}
        is_root, is_type_list = name in INTROSPECTION_ROOTS, name in _TYPE_LISTS and _is_introspection(parent)
        is_repeated = node.alias is not None and _is_introspection(parent)
        return QueryCost(
            cost=self._cost(definition, arguments, inside.cost),
            depth=1 + inside.depth,
            aliases=(node.alias is not None) + inside.aliases,
            directives=inside.directives,
            introspection=inside.introspection + is_root + is_repeated + is_type_list * inside.type_lists,
            type_lists=is_type_list + inside.type_lists,
            uploads=name == UPLOAD,
            entry=max(inside.entry, inside.cost if _is_unpaged_list(definition, name) else 0),
        )

    def _definition(self, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
        if name in INTROSPECTION_ROOTS and self.schema.query_type:
            return self.schema.get_field(self.schema.query_type, name)
        return parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None

    def _cost(self, definition: GraphQLField | None, arguments: Mapping[str, ast.ValueNode], inside: int) -> int:
        """The cost of a field: its weight, and the cost `inside` it for each entry of its page."""
        weight = cost.weight if (cost := find_directive(definition, Cost)) else 1
        if definition and "ids" in definition.args:
            # Each ID is read.
            return self._number_of_ids(arguments.get("ids")) * (weight + inside)
        times = self._page_size(arguments) if definition and "first" in definition.args else 1
        return weight + SEARCH_COST * (SEARCH in arguments) + times * inside

    def _page_size(self, arguments: Mapping[str, ast.ValueNode]) -> int:
        values = [self._value(arguments[name]) for name in ("first", "last") if name in arguments]
        sizes = [int(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
        # The resolver rejects a size out of range, and two sizes.
        return min(max(*sizes, 0), MAX_PAGE_SIZE) if sizes else DEFAULT_PAGE_SIZE

    def _number_of_ids(self, argument: ast.ValueNode | None) -> int:
        ids = self._value(argument)
        # A single value is a list of one. The resolver rejects more IDs.
        return min(len(ids), MAX_PAGE_SIZE) if isinstance(ids, Sequence) and not isinstance(ids, str) else 1

    def _value(self, node: ast.ValueNode | None) -> Any:
        """The value of an argument; None if it is neither a number nor a list."""
        if isinstance(node, ast.VariableNode):
            name = node.name.value
            return self.variables[name] if name in self.variables else self._value(self._defaults.get(name))
        if isinstance(node, ast.ListValueNode):
            return node.values
        # The resolver rejects a number with more digits than a page size.
        return int(node.value[:5]) if isinstance(node, ast.IntValueNode) else None


def _sum(parts: Sequence[QueryCost]) -> QueryCost:
    if not parts:
        return QueryCost()
    sums = QueryCost(*map(sum, zip(*parts, strict=True)))
    return sums._replace(depth=max(part.depth for part in parts), entry=max(part.entry for part in parts))


def _with_directives(cost: QueryCost, *nodes: Any) -> QueryCost:
    return cost._replace(directives=cost.directives + sum(len(node.directives or ()) for node in nodes))


def _is_introspection(parent: GraphQLNamedType | None) -> bool:
    return parent is not None and is_introspection_type(parent)


def _is_unpaged_list(definition: GraphQLField | None, name: str) -> bool:
    is_list = definition is not None and isinstance(get_nullable_type(definition.type), GraphQLList)
    return is_list and name not in ("edges", "nodes")
