"""How the answers of a subscription stand in one HTTP response: as server-sent events, or as Apollo's parts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from strawberry.http.streaming import JSONEncoder, MultipartSubscriptionTransport, SSETransport

#: As Apollo's router writes it; Strawberry's has the rest of an `Accept` header behind it.
PARTS_TYPE = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
#: Longest silence, in seconds, since what is between us and the client ends a connection that is silent for longer.
HEARTBEAT_SECONDS = 10.0
_BOUNDARY = "--graphql"
_END = "--\r\n"


class SseEncoder(SSETransport):
    """Server-sent events whose lines end as urql expects them.

    https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode
    """

    def __init__(self) -> None:
        super().__init__(HEARTBEAT_SECONDS)

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace("\r\n", "\n")

    def encode_comment(self, comment: str) -> str:
        return f": {comment}\n\n"


class MultipartEncoder(MultipartSubscriptionTransport):
    """Parts of a multipart body, each with the boundary behind it, since clients take none for whole before.

    https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
    """

    def __init__(self) -> None:
        super().__init__()
        self.heartbeat_interval = HEARTBEAT_SECONDS

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": PARTS_TYPE}

    def encode_multipart_data(self, data: object, encode_json: JSONEncoder) -> str:
        return f"\r\nContent-Type: application/json\r\n\r\n{encode_json(data)}\r\n{_BOUNDARY}"

    def encode_complete(self) -> str:
        # Behind the boundary that the last part left; Strawberry writes another one, with an empty part between.
        return _END


async def with_boundaries(parts: Callable[[], AsyncGenerator[str, None]]) -> AsyncGenerator[str, None]:
    """The parts between the first boundary, which Strawberry leaves out, and the end, which a heartbeat may follow."""
    yield _BOUNDARY
    async with aclosing(parts()) as stream:
        async for part in stream:
            yield part
            if part == _END:
                return
