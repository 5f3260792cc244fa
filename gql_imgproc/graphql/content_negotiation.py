"""Content negotiation: the media type of a response, from the `Accept` header."""

from __future__ import annotations

from gql_imgproc.net.accept import Accept

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed"


def answer_type(accept: str) -> str:
    """The media type of a response: application/json unless the client prefers the newer type."""
    types = Accept(accept)
    json_weight, graphql_weight = types.weight(JSON), types.named_weight(GRAPHQL_JSON)
    if not json_weight:
        # A wildcard is enough then.
        return GRAPHQL_JSON if types.weight(GRAPHQL_JSON) else JSON
    if graphql_weight == json_weight:
        return next(name for name in types.names() if name in (JSON, GRAPHQL_JSON))
    return GRAPHQL_JSON if graphql_weight > json_weight else JSON


def accepts_sse(accept: str) -> bool:
    return Accept(accept).named_weight(EVENT_STREAM) > 0


def accepts_multipart(accept: str) -> bool:
    """Whether the client accepts Apollo's multipart subscriptions; other protocols use `multipart/mixed` too."""
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip().replace('"', "") for piece in part.split(";"))
        if name == MULTIPART and "subscriptionspec=1.0" in parameters and Accept(accept).named_weight(MULTIPART):
            return True
    return False


def accepts_only_sse(accept: str) -> bool:
    """Whether the client accepts events and no JSON. Some clients list every type they know in every request."""
    types = Accept(accept)
    return accepts_sse(accept) and not (types.weight(JSON) or types.weight(GRAPHQL_JSON))
