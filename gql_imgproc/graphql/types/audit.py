"""The audit log."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.access import audit_log
from gql_imgproc.enums import AuditAction
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.view import view
from gql_imgproc.ids import IdPrefix, encode_global_id


@strawberry.type(description="A detail of an audit event.")
class AuditDetail:
    name: str = strawberry.field(description="Name of the detail, for instance `file`. New names may be added.")
    value: str = strawberry.field(description="Value of the detail, as text for people.")


@strawberry.type(
    description="An action in the tenant's name. Events are never changed. The operator may delete exported ones."
)
class AuditEvent(Node):
    event: strawberry.Private[audit_log.AuditEvent]
    at: datetime = strawberry.field(description="When the action was done.")
    action: AuditAction = strawberry.field(description="The action.")
    actor: str = strawberry.field(
        description="Who did it: the name of the API key, `anonymous`, `cli:` and the user of the command line, or the "
        "name of the service's periodic task."
    )
    key_id: strawberry.ID | None = strawberry.field(
        description="The API key that was used; null when none was, whatever the value of `actor`."
    )
    subject_id: strawberry.ID | None = strawberry.field(
        description="Identifier of the object of the action, which may have been deleted; null when it has none."
    )
    ip_address: str | None = strawberry.field(
        description="IP address of the caller; null for the command line and the service itself."
    )

    @cost_field("Further details, at most 10.")
    def details(self, info: Info) -> list[AuditDetail]:
        info.context.budget.charge(len(self.event.details))
        return [AuditDetail(name=name, value=value) for name, value in self.event.details.items()]

    @classmethod
    def from_row(cls, event: audit_log.AuditEvent) -> AuditEvent:
        return view(
            cls,
            event,
            id=strawberry.ID(encode_global_id(IdPrefix.AUDIT_EVENT, event.id)),
            event=event,
            at=event.occurred_at,
            key_id=strawberry.ID(encode_global_id(IdPrefix.API_KEY, event.key_id)) if event.key_id else None,
            subject_id=strawberry.ID(event.subject_id) if event.subject_id else None,
            ip_address=event.ip_address or None,
        )
