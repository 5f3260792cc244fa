"""What the schema's telling about itself amounts to: an upper bound, read off the schema that it would tell of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Any

from graphql import GraphQLNamedType, GraphQLSchema, is_abstract_type, is_introspection_type, is_wrapping_type

#: The two fields that every schema has at its root.
ROOTS = frozenset({"__schema", "__type"})
#: Answer to a document that asks for the schema where it is not told.
NOT_TOLD = (
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
