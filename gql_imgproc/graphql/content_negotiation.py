"""Content negotiation: the media type of a response, from the `Accept` header."""

from __future__ import annotations

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/mixed"


def parse_accept(accept: str) -> dict[str, float]:
    """The media types of the header with their weights, in order; those with `q=0` are left out."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name and weight > 0:
            found[name] = weight
    return found


def answer_type(accept: str) -> str:
    """The media type of a response: application/json unless the client prefers the newer type."""
    types = parse_accept(accept)
    graphql_weight = types.get(GRAPHQL_JSON, 0)
    json_weight = max(types.get(name, 0) for name in (JSON, "application/*", "*/*"))
    if graphql_weight == json_weight and JSON in types:
        return next(name for name in types if name in (JSON, GRAPHQL_JSON))
    return GRAPHQL_JSON if graphql_weight and graphql_weight >= json_weight else JSON


def accepts_sse(accept: str) -> bool:
    return EVENT_STREAM in parse_accept(accept)


def accepts_multipart(accept: str) -> bool:
    """Whether the client accepts Apollo's multipart subscriptions; other protocols use `multipart/mixed` too."""
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip().replace('"', "") for piece in part.split(";"))
        if name == MULTIPART and "subscriptionspec=1.0" in parameters and MULTIPART in parse_accept(accept):
            return True
    return False


def accepts_only_sse(accept: str) -> bool:
    """Whether the client accepts events and no JSON. Some clients list every type they know in every request."""
    types = parse_accept(accept)
    return EVENT_STREAM in types and not any(name in types for name in (JSON, GRAPHQL_JSON, "application/*", "*/*"))
