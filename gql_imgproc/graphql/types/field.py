"""Fields whose value is computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from graphql import GraphQLField
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

from gql_imgproc.security.scopes import Scope

#: What a list of images costs; what is in it is charged when it is known how many they are (`allowance`).
IMAGES_COST = 2

F = TypeVar("F", bound=Callable[..., Any])
D = TypeVar("D")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="Marks a custom cost for the query budget; "
    "the default is 1 per field, times the page size inside a connection.",
)
class Cost:
    weight: int


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="Marks what needs an API key with a scope other than the usual one; "
    "that of queries and subscriptions is READ, that of mutations WRITE.",
)
class RequiresScope:
    scope: Scope


def cost_field(description: str, *, cost: int | None = None, scope: Scope | None = None) -> Callable[[F], F]:
    """A field that calls a method. Strawberry's own decorator loses the method's type."""
    directives: list[object] = [] if cost is None else [Cost(weight=cost)]
    if scope is not None:
        directives.append(RequiresScope(scope=scope))
    decorate: Callable[[F], F] = strawberry.field(description=description, directives=directives)
    return decorate


def directive(definition: GraphQLField | None, kind: type[D]) -> D | None:
    """The directive of this kind that a field is marked with."""
    declared = definition.extensions.get("strawberry-definition") if definition else None
    if isinstance(declared, StrawberryField):
        return next((mark for mark in declared.directives if isinstance(mark, kind)), None)
    return None
