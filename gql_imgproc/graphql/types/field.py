"""Fields that call a method, with their cost and the scope they require."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from graphql import GraphQLField
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

from gql_imgproc.security.scopes import Scope

#: Cost of a list of images. Its entries are charged when their number is known (`query_cost.ResponseBudget`).
IMAGES_COST = 2
#: Cost of one URL in a list of source images, and in a list of stored images, whose rows are read.
SOURCE_URL_COST, OUTPUT_URL_COST = 0.1, 0.5
#: Cost of an output of an image after the first one, whose row is read.
FURTHER_OUTPUT_COST = 1.0
#: Cost of a URL that is signed on request: as much CPU time as three plain fields.
SIGNED_URL_COST = 3
#: Cost of a comparison with another request, each of which reads up to 100,000 products.
COMPARISON_COST = 500

F = TypeVar("F", bound=Callable[..., Any])
D = TypeVar("D")


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="Cost of a field in the query budget; "
    "the default is 1 per field, times the page size inside a connection.",
)
class Cost:
    weight: int


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="The API key needs this scope instead of the default: "
    "READ for queries and subscriptions, WRITE for mutations.",
)
class RequiresScope:
    scope: Scope


def cost_field(description: str, *, cost: int | None = None, scope: Scope | None = None) -> Callable[[F], F]:
    """A field that calls a method. Strawberry's own decorator loses the type of the method."""
    directives: list[object] = [] if cost is None else [Cost(weight=cost)]
    if scope is not None:
        directives.append(RequiresScope(scope=scope))
    decorate: Callable[[F], F] = strawberry.field(description=description, directives=directives)
    return decorate


def find_directive(definition: GraphQLField | None, kind: type[D]) -> D | None:
    declared = definition.extensions.get("strawberry-definition") if definition else None
    if isinstance(declared, StrawberryField):
        return next((found for found in declared.directives if isinstance(found, kind)), None)
    return None
