"""Encodes the results of a subscription in one HTTP response: server-sent events, or Apollo's multipart protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from strawberry.http.streaming import JSONEncoder, MultipartSubscriptionTransport, SSETransport

#: As Apollo's router sends it. Strawberry's content type ends with parts of an `Accept` header.
MULTIPART_TYPE = 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
#: Seconds between heartbeats: proxies close connections that are idle for longer.
HEARTBEAT_SECONDS = 10.0
_BOUNDARY = "--graphql"
_END = "--\r\n"


class SseEncoder(SSETransport):
    """Server-sent events with the line ends that urql expects.

    https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode
    """

    def __init__(self) -> None:
        super().__init__(HEARTBEAT_SECONDS)

    def encode_event(self, event: str, data: str | None = None) -> str:
        return super().encode_event(event, data).replace("\r\n", "\n")

    def encode_comment(self, comment: str) -> str:
        return f": {comment}\n\n"


class MultipartEncoder(MultipartSubscriptionTransport):
    """Parts of a multipart body, each followed by its boundary: clients wait for it before they process a part.

    https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
    """

    def __init__(self) -> None:
        super().__init__()
        self.heartbeat_interval = HEARTBEAT_SECONDS

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Content-Type": MULTIPART_TYPE}

    def encode_multipart_data(self, data: object, encode_json: JSONEncoder) -> str:
        return f"\r\nContent-Type: application/json\r\n\r\n{encode_json(data)}\r\n{_BOUNDARY}"

    def encode_complete(self) -> str:
        # The last part ended with a boundary. Strawberry would send an empty part and another boundary.
        return _END


async def with_boundaries(parts: Callable[[], AsyncGenerator[str, None]]) -> AsyncGenerator[str, None]:
    """Adds the first boundary, which Strawberry omits, and drops a heartbeat that follows the end."""
    yield _BOUNDARY
    async with aclosing(parts()) as stream:
        async for part in stream:
            yield part
            if part == _END:
                return
