"""Measures a document: its depth, its numbers of aliases and directives, and the cost of its execution.

Each fragment is measured once, however often it is used, so the effort grows with the length of the document and not
with its expanded size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import fmean
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_introspection_type,
    is_wrapping_type,
)

from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from gql_imgproc.graphql.types.field import Cost, find_directive

#: The field that uploads a file. Its real cost grows with the file.
UPLOAD = "uploadCsv"
#: An argument without an index, and its cost: names are scanned until the page is full.
SEARCH, SEARCH_COST = "nameContains", 200


@dataclass(frozen=True, slots=True)
class QueryCost:
    """The measures of a selection."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    #: Upper bound of the entries about the schema itself in the response.
    introspection: float = 0
    #: Number of uploads. The document does not show the work of one.
    uploads: int = 0
    #: The largest cost of one entry in a list without pages.
    of_entry: int = 0


class CostAnalyzer:
    """Measures selections of one document with the values of its variables.

    Fields with `@skip` or `@include` count in full. Fields that are not in the schema are left to validation.
    """

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._variables = variables
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._measured: dict[tuple[str, bool, int], QueryCost] = {}

    def operation(self, node: OperationDefinitionNode) -> QueryCost:
        self._defaults = {
            definition.variable.name.value: _integer(definition.default_value)
            for definition in node.variable_definitions or ()
        }
        inside = self._selections(node.selection_set, self._schema.get_root_type(node.operation))
        own = len(node.directives or ()) + sum(len(each.directives or ()) for each in node.variable_definitions or ())
        return replace(inside, directives=own + inside.directives)

    def _selections(
        self,
        selections: SelectionSetNode | None,
        parent: GraphQLNamedType | None,
        *,
        all_types: bool = False,
        wraps: int = 0,
    ) -> QueryCost:
        """`all_types`: the selection applies to each type of the schema; `wraps`: number of enclosing `ofType`."""
        cost = depth = aliases = directives = uploads = of_entry = 0
        introspection = 0.0
        for node in selections.selections if selections else ():
            match node:
                case FieldNode():
                    part = self._field(node, parent, all_types=all_types, wraps=wraps)
                case FragmentSpreadNode():
                    part = self._fragment(node.name.value, all_types=all_types, wraps=wraps)
                case InlineFragmentNode():
                    condition = node.type_condition
                    narrowed = self._schema.get_type(condition.name.value) if condition else parent
                    part = self._selections(node.selection_set, narrowed, all_types=all_types, wraps=wraps)
                case _:
                    continue
            cost += part.cost
            depth = max(depth, part.depth)
            aliases += part.aliases
            directives += len(node.directives or ()) + part.directives
            introspection += part.introspection
            uploads += part.uploads
            of_entry = max(of_entry, part.of_entry)
        return QueryCost(cost, depth, aliases, directives, introspection, uploads, of_entry)

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, *, all_types: bool, wraps: int) -> QueryCost:
        name = node.name.value
        definition = _definition(self._schema, parent, name)
        kind = get_named_type(definition.type) if definition else None
        unwraps = name == "ofType"
        about_all = name == "types" or (all_types and name in ("fields", "inputFields", "args"))
        inside = self._selections(node.selection_set, kind, all_types=about_all, wraps=wraps + 1 if unwraps else 0)
        times = self._page_size(node) if definition and "first" in definition.args else 1
        entries = inside.introspection
        if is_introspection(parent, name):
            sizes = schema_sizes(self._schema)
            exists = not unwraps or wraps < sizes.wraps
            entries = 1 + exists * sizes.of(name, all_types=all_types) * entries
        return QueryCost(
            cost=_weight(definition) + SEARCH_COST * _has_search(node) + times * inside.cost,
            depth=1 + inside.depth,
            aliases=(node.alias is not None) + inside.aliases,
            directives=inside.directives,
            introspection=entries,
            uploads=name == UPLOAD,
            of_entry=max(inside.of_entry, inside.cost if definition and _is_unpaged_list(definition, name) else 0),
        )

    def _fragment(self, name: str, *, all_types: bool, wraps: int) -> QueryCost:
        key = name, all_types, wraps
        if key not in self._measured:
            # Ends the recursion of a fragment that contains itself; validation rejects it.
            self._measured[key] = QueryCost()
            if fragment := self._fragments.get(name):
                parent = self._schema.get_type(fragment.type_condition.name.value)
                inside = self._selections(fragment.selection_set, parent, all_types=all_types, wraps=wraps)
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
        # The resolver rejects a size out of range.
        return min(max(sizes[0], 0), MAX_PAGE_SIZE) if sizes else DEFAULT_PAGE_SIZE

    def _number(self, value: Any) -> int | None:
        if isinstance(value, VariableNode):
            name = value.name.value
            number = self._variables.get(name, self._defaults.get(name))
            return int(number) if isinstance(number, int | float) and math.isfinite(number) else None
        return _integer(value)


def _integer(node: Any) -> int | None:
    # The resolver rejects a number with more digits than a page size.
    return int(node.value[:5]) if isinstance(node, IntValueNode) else None


def _definition(schema: GraphQLSchema, parent: GraphQLNamedType | None, name: str) -> GraphQLField | None:
    if name == "__schema" or name == "__type":
        return schema.get_field(schema.query_type, name) if schema.query_type else None
    return parent.fields.get(name) if isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) else None


def _has_search(node: FieldNode) -> bool:
    return any(argument.name.value == SEARCH for argument in node.arguments or ())


def _is_unpaged_list(definition: GraphQLField, name: str) -> bool:
    return name != "edges" and isinstance(get_nullable_type(definition.type), GraphQLList)


def _weight(definition: GraphQLField | None) -> int:
    cost = find_directive(definition, Cost)
    return cost.weight if cost else 1


#: Cost of an entry in a list without pages, of each selected field of it, of reading the row of an image, and of a URL
#: in a list. A total of 5,000 takes 0.1 to 0.15 s of CPU time (`benchmarks/documents.py`).
ENTRY_COST, FIELD_COST, ROW_COST, URL_COST = 0.6, 0.1, 0.4, 0.1


class Allowance:
    """The budget for lists without pages: what the measured cost of the document leaves."""

    def __init__(self, budget: float) -> None:
        self._budget = self._left = budget
        self._fields = 0

    def charge_document(self, cost: int, fields: int) -> None:
        """`cost`: of the document; `fields`: the largest cost of one entry in a list without pages."""
        self._budget -= cost
        self._fields = fields
        self.renew()

    def renew(self) -> None:
        """Restores the budget for the next result of the same document."""
        self._left = self._budget

    def spend_entries(self, entries: int) -> None:
        """Charges for the entries of a list, before it is built."""
        self._spend(entries * (ENTRY_COST + self._fields * FIELD_COST))

    def spend_urls(self, urls: int) -> None:
        """Charges for a list of URLs."""
        self._spend(urls * URL_COST)

    def spend_rows(self, rows: int) -> None:
        """Charges for rows, before they are read."""
        self._spend(rows * ROW_COST)

    def _spend(self, cost: float) -> None:
        self._left -= cost
        if self._left < 0:
            raise bad_input("The response is too large. Request smaller pages, or fewer fields of each image.")


#: Introspection fields of the root type.
INTROSPECTION_ROOTS = frozenset({"__schema", "__type"})
INTROSPECTION_DISABLED = (
    "Introspection is disabled. See schema.graphql in the repository, or set IMGPROC_INTROSPECTION=on on the server."
)


@dataclass(frozen=True, slots=True)
class SchemaSizes:
    """Lengths of the lists of `__Type`, `__Field` and `__Directive`, by field name.

    The mean is for a selection on all types; the maximum is for a single type, which may be any.
    """

    mean: Mapping[str, float]
    maximum: Mapping[str, int]
    #: Largest number of list and non-null wrappers around a type: the depth of `ofType` that exists.
    wraps: int

    def of(self, name: str, *, all_types: bool) -> float:
        return (self.mean if all_types else self.maximum).get(name, 1)


def is_introspection(parent: GraphQLNamedType | None, name: str) -> bool:
    return name in INTROSPECTION_ROOTS or (parent is not None and is_introspection_type(parent))


@lru_cache(maxsize=1)
def schema_sizes(schema: GraphQLSchema) -> SchemaSizes:
    types: list[Any] = list(schema.type_map.values())
    fields = [field for kind in types for field in getattr(kind, "fields", {}).values()]
    arguments = [each for owner in (*fields, *schema.directives) for each in getattr(owner, "args", {}).values()]
    lengths = {
        "types": [len(types)],
        "directives": [len(schema.directives)],
        "fields": [len(getattr(kind, "fields", ())) for kind in types],
        "inputFields": [len(getattr(kind, "fields", ())) for kind in types],
        "interfaces": [len(getattr(kind, "interfaces", ())) for kind in types],
        "enumValues": [len(getattr(kind, "values", ())) for kind in types],
        "possibleTypes": [_possible_types(schema, kind) for kind in types],
        "args": [len(getattr(owner, "args", ())) for owner in (*fields, *schema.directives)],
    }
    return SchemaSizes(
        mean={name: fmean(sizes) for name, sizes in lengths.items()},
        maximum={name: max(sizes) for name, sizes in lengths.items()},
        wraps=max(_wraps(each.type) for each in (*fields, *arguments)),
    )


def _wraps(kind: Any) -> int:
    return 1 + _wraps(kind.of_type) if is_wrapping_type(kind) else 0


def _possible_types(schema: GraphQLSchema, kind: Any) -> int:
    return len(schema.get_possible_types(kind)) if is_abstract_type(kind) else 0
