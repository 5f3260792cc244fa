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
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_composite_type,
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
#: A page counts as this number of entries at least: an empty one takes as much CPU time as five fields.
MIN_PAGE_SIZE = 3
#: Arguments with the number of entries, or with one value for each.
_SIZES = ("first", "last", "ids")
#: Introspection fields of the root type, and the lists of a type that lead to further types.
INTROSPECTION_ROOTS = frozenset({"__schema", "__type"})
_TYPE_LISTS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
#: Cost of an entry in a list without pages, and of each selected field of it. A total of 5,000 needs up to 0.15 s of
#: CPU time (`benchmarks/documents.py`).
ENTRY_COST, FIELD_COST = 1.0, 0.1
#: An alias in such an entry counts as two more fields: with aliases, an entry has any number of fields and objects.
ALIASED_FIELDS = 2


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
    #: The largest number of fields that one entry in a list without pages counts as.
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
        parts = []
        # Two calls for each level: a document has up to 330 levels in its fragments, and Python allows 1,000 calls.
        for node in selections.selections if selections else ():
            part = QueryCost()
            match node:
                case ast.FieldNode():
                    part = self._visit_field(node, parent)
                case ast.FragmentSpreadNode():
                    part = self._visit_fragment(node.name.value)
                case ast.InlineFragmentNode(type_condition=condition):
                    narrowed = self.schema.get_type(condition.name.value) if condition else parent
                    part = self._visit_selections(node.selection_set, narrowed)
            parts.append(_with_directives(part, node))
        return _sum(parts)

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
        name, is_aliased = node.name.value, node.alias is not None
        definition = self.schema.get_field(parent, name) if is_composite_type(parent) else None
        if definition is not None and parent is self._root:
            self.root_fields[name] = definition
        inside = self._visit_selections(node.selection_set, get_named_type(definition.type) if definition else None)
        is_list = definition is not None and isinstance(get_nullable_type(definition.type), GraphQLList)
        is_unpaged_list = is_list and name not in ("edges", "nodes")
        is_in_introspection = parent is not None and is_introspection_type(parent)
        is_type_list = is_in_introspection and name in _TYPE_LISTS
        own = (name in INTROSPECTION_ROOTS) + (is_in_introspection and is_aliased) + is_type_list * inside.type_lists
        return QueryCost(
            cost=self._cost(definition, node, inside.cost) if definition else 1 + inside.cost,
            depth=1 + inside.depth,
            aliases=is_aliased + inside.aliases,
            directives=inside.directives,
            introspection=own + inside.introspection,
            type_lists=is_type_list + inside.type_lists,
            uploads=name == UPLOAD,
            entry=max(inside.entry, inside.cost + ALIASED_FIELDS * inside.aliases if is_unpaged_list else 0),
        )

    def _cost(self, definition: GraphQLField, node: ast.FieldNode, inside: int) -> int:
        """The weight of a field, and the cost `inside` it for each entry of its page."""
        weight = cost.weight if (cost := find_directive(definition, Cost)) else 1
        arguments = {each.name.value: each.value for each in node.arguments or ()}
        sizes = [size for name in _SIZES if (size := self._size(arguments.get(name))) is not None]
        # The resolver rejects two sizes. A single ID is a list of one.
        least, default = (MIN_PAGE_SIZE, DEFAULT_PAGE_SIZE) if "first" in definition.args else (0, 1)
        size = max(least, max(sizes, default=default))
        own = weight + SEARCH_COST * (SEARCH in arguments)
        # Each ID is read.
        return (own + inside) * size if "ids" in definition.args else own + inside * size

    def _size(self, node: ast.ValueNode | None) -> int | None:
        """The number of entries that the value of an argument asks for."""
        match node:
            case ast.VariableNode(name=name) if name.value in self.variables:
                return size_of(self.variables[name.value])
            case ast.VariableNode(name=name):
                return self._size(self._defaults.get(name.value))
            case ast.IntValueNode():
                # The resolver rejects a number with more digits than a page size.
                return size_of(int(node.value[:5]))
            case ast.ListValueNode():
                return size_of(node.values)
        return None


def size_of(value: Any) -> int | None:
    """The number of entries that a value asks for. The resolver rejects one out of range."""
    if isinstance(value, list | tuple):
        return min(len(value), MAX_PAGE_SIZE)
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return min(max(int(value), 0), MAX_PAGE_SIZE) if is_number else None


def _sum(parts: Sequence[QueryCost]) -> QueryCost:
    if not parts:
        return QueryCost()
    sums = QueryCost(*map(sum, zip(*parts, strict=True)))
    return sums._replace(depth=max(part.depth for part in parts), entry=max(part.entry for part in parts))


def _with_directives(cost: QueryCost, *nodes: Any) -> QueryCost:
    return cost._replace(directives=cost.directives + sum(len(node.directives or ()) for node in nodes))
