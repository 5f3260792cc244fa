"""Fields whose value is computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import strawberry
from strawberry.schema_directive import Location

#: What a list of images costs; what is in it is charged when it is known how many they are (`allowance`).
IMAGES_COST = 2

F = TypeVar("F", bound=Callable[..., Any])


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION],
    description="Marks a custom cost for the query budget; "
    "the default is 1 per field, times the page size inside a connection.",
)
class Cost:
    weight: int


def computed(description: str, *, cost: int | None = None) -> Callable[[F], F]:
    """A field that calls a method. Strawberry's own decorator loses the method's type."""
    decorate: Callable[[F], F] = strawberry.field(
        description=description, directives=[] if cost is None else [Cost(weight=cost)]
    )
    return decorate
