"""Objects with a global ID."""

from __future__ import annotations

import strawberry


@strawberry.interface(description="Anything that can be fetched again by its global identifier.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, globally unique identifier.")
