"""The audit log of a tenant as its admins see it, one by one and in pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import strawberry

from gql_imgproc.access import audit_log
from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.enums import AuditAction
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.connection import ConnectionArgs, PageInfo, cursor, total_count
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.ids import IdPrefix, encode_global_id


@strawberry.type(description="Something more that is known of an audit event.")
class AuditDetail:
    name: str = strawberry.field(description="What is told, for instance `file`. New names may be added.")
    value: str = strawberry.field(description="What it is, for people.")


@strawberry.type(description="Something that was done in the tenant's name. Events are never changed nor removed.")
class AuditEvent(Node):
    event: strawberry.Private[audit_log.AuditEvent]
    at: datetime = strawberry.field(description="When it was done.")
    action: AuditAction = strawberry.field(description="What was done.")
    actor: str = strawberry.field(
        description="Who did it: the name of the API key, `anonymous`, `cli:` and the user at the command line, or the "
        "duty that the service did by itself."
    )
    key_id: strawberry.ID | None = strawberry.field(
        description="The API key that did it; null when none did, whatever `actor` is named."
    )
    subject_id: strawberry.ID | None = strawberry.field(
        description="Identifier of what it was done to, which may be gone since; null when that has none."
    )
    address: str | None = strawberry.field(
        description="Network address it was done from; null for the command line and the service itself."
    )

    @cost_field("What else is known of it, at most 10.")
    def details(self, info: Info) -> list[AuditDetail]:
        info.context.allowance.spend_entries(len(self.event.details))
        return [AuditDetail(name=name, value=value) for name, value in self.event.details.items()]

    @classmethod
    def of(cls, event: audit_log.AuditEvent) -> AuditEvent:
        return cls(
            id=strawberry.ID(encode_global_id(IdPrefix.AUDIT_EVENT, event.id)),
            event=event,
            at=event.occurred_at,
            action=event.action,
            actor=event.actor,
            key_id=strawberry.ID(encode_global_id(IdPrefix.API_KEY, event.key_id)) if event.key_id else None,
            subject_id=strawberry.ID(event.subject_id) if event.subject_id else None,
            address=event.ip_address or None,
        )


@strawberry.type(description="One event in a page of the audit log.")
class AuditEventEdge:
    cursor: str = strawberry.field(description="Opaque position of this event.")
    node: AuditEvent = strawberry.field(description="The event.")


@strawberry.type(description="A page of the audit log.")
class AuditEventConnection:
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    edges: list[AuditEventEdge] = strawberry.field(description="The edges of this page.")
    page_info: PageInfo = strawberry.field(description="About this page.")

    @cost_field("Number of matching events on all pages.")
    async def total_count(self) -> int:
        return await self.count()

    @classmethod
    def of(
        cls, window: PageWindow, page: Page[audit_log.AuditEvent], count: Callable[[], Awaitable[int]]
    ) -> AuditEventConnection:
        return cls(
            count=total_count(window, page, count),
            edges=[
                AuditEventEdge(cursor=cursor(ConnectionArgs.AUDIT, key), node=AuditEvent.of(event))
                for key, event in page.rows
            ],
            page_info=PageInfo.of(ConnectionArgs.AUDIT, window, page),
        )
