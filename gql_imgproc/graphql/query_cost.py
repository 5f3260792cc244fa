"""What a document amounts to: how deep it is, how many aliases and directives it has, what it costs to answer.

Each fragment is measured once, however often it is used: the effort grows with the length of the document,
never with what it expands to.
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
from gql_imgproc.graphql.types.field import Cost, directive

#: The field that takes a file in. What that costs grows with the file.
UPLOAD = "uploadCsv"
#: The argument that no index helps with, and what it costs: names are read until the page is full.
SEARCH, SEARCH_COST = "nameContains", 200


@dataclass(frozen=True, slots=True)
class QueryCost:
    """What a selection amounts to."""

    cost: int = 0
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    #: Entries of the answer that tell of the schema itself, at most.
    introspection: float = 0
    #: Uploads: the work of one cannot be told from the document.
    uploads: int = 0
    #: The most that is asked of one entry of a list without pages.
    of_entry: int = 0


class CostAnalyzer:
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
        """`all_types`: whether this is asked of each type of the schema; `wraps`: within how many `ofType`."""
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
        if tells_of_schema(parent, name):
            known = sizes(self._schema)
            is_there = not unwraps or wraps < known.wraps
            entries = 1 + is_there * known.of(name, all_types=all_types) * entries
        return QueryCost(
            cost=_weight(definition) + SEARCH_COST * _searches(node) + times * inside.cost,
            depth=1 + inside.depth,
            aliases=(node.alias is not None) + inside.aliases,
            directives=inside.directives,
            introspection=entries,
            uploads=name == UPLOAD,
            of_entry=max(inside.of_entry, inside.cost if definition and _without_pages(definition, name) else 0),
        )

    def _fragment(self, name: str, *, all_types: bool, wraps: int) -> QueryCost:
        key = name, all_types, wraps
        if key not in self._measured:
            # A fragment that contains itself is refused by validation; here it just must not go round for ever.
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


def _searches(node: FieldNode) -> bool:
    return any(argument.name.value == SEARCH for argument in node.arguments or ())


def _without_pages(definition: GraphQLField, name: str) -> bool:
    return name != "edges" and isinstance(get_nullable_type(definition.type), GraphQLList)


def _weight(definition: GraphQLField | None) -> int:
    marked = directive(definition, Cost)
    return marked.weight if marked else 1


#: What an entry of such a list costs, each field that is asked of it, the row of an image that is read for it, and an
#: address in a list of those; 5,000 of all together take 0.1 to 0.15 s of CPU (`benchmarks/documents.py`).
ENTRY_COST, FIELD_COST, ROW_COST, ADDRESS_COST = 0.6, 0.1, 0.4, 0.1


class Allowance:
    """The cost that is left for lists without pages, after all that could be measured in the document."""

    def __init__(self, whole: float) -> None:
        self._whole = self._left = whole
        self._fields = 0

    def measured(self, cost: int, fields: int) -> None:
        """`cost`: that of the document; `fields`: the most that it asks of an entry of a list without pages."""
        self._whole -= cost
        self._fields = fields
        self.renew()

    def renew(self) -> None:
        """For the next answer to the same document."""
        self._left = self._whole

    def spend_entries(self, entries: int) -> None:
        """For a list with so many entries, before it is made."""
        self._spend(entries * (ENTRY_COST + self._fields * FIELD_COST))

    def spend_addresses(self, addresses: int) -> None:
        """For a list of so many addresses."""
        self._spend(addresses * ADDRESS_COST)

    def spend_rows(self, rows: int) -> None:
        """For so many rows, before they are read."""
        self._spend(rows * ROW_COST)

    def _spend(self, cost: float) -> None:
        self._left -= cost
        if self._left < 0:
            raise bad_input("This answer is too large. Ask for smaller pages, or for less of each image.")


#: The two fields that every schema has at its root.
ROOTS = frozenset({"__schema", "__type"})
#: Answer to a document that asks for the schema where it is not told.
INTROSPECTION_DISABLED = (
    "This service does not tell its schema. It stands in the project's `schema.graphql`; "
    "whoever runs the service can have it told with IMGPROC_INTROSPECTION=on."
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long the lists of `__Type`, `__Field` and `__Directive` are, by their names.

    All types together have the mean; of a single one nobody knows which it is, so it has the greatest.
    """

    mean: Mapping[str, float]
    greatest: Mapping[str, int]
    #: Brackets and exclamation marks around a type, at most: so often can `ofType` be asked of it and find one.
    wraps: int

    def of(self, name: str, *, all_types: bool) -> float:
        return (self.mean if all_types else self.greatest).get(name, 1)


def tells_of_schema(parent: GraphQLNamedType | None, name: str) -> bool:
    return name in ROOTS or (parent is not None and is_introspection_type(parent))


@lru_cache(maxsize=1)
def sizes(schema: GraphQLSchema) -> Sizes:
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
    return Sizes(
        mean={name: fmean(found) for name, found in lengths.items()},
        greatest={name: max(found) for name, found in lengths.items()},
        wraps=max(_wraps(each.type) for each in (*fields, *arguments)),
    )


def _wraps(kind: Any) -> int:
    return 1 + _wraps(kind.of_type) if is_wrapping_type(kind) else 0


def _possible_types(schema: GraphQLSchema, kind: Any) -> int:
    return len(schema.get_possible_types(kind)) if is_abstract_type(kind) else 0
