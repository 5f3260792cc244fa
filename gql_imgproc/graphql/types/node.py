"""Objects with a global ID."""

from __future__ import annotations

from uuid import UUID

import strawberry

from gql_imgproc.ids import IdPrefix, decode_global_id


@strawberry.interface(description="Anything that can be fetched again by its global identifier.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, globally unique identifier.")


def parse_global_id(id: str, kind: IdPrefix) -> UUID | None:
    """The UUID in a global ID of this kind; None for a malformed ID or one of another kind."""
    match decode_global_id(id):
        case (found, value) if found is kind:
            return value
    return None
