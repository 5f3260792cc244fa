"""What a client wants to be answered with, from its `Accept` header."""

from __future__ import annotations

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENTS = "text/event-stream"
PARTS = "multipart/mixed"


def parse_accept(accept: str) -> dict[str, float]:
    """The media types of the header with their weights, in its order; those refused with `q=0` are left out."""
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
    """The media type of an answer. Clients that say nothing of it get what they have always got."""
    wanted = parse_accept(accept)
    modern = wanted.get(GRAPHQL_JSON, 0)
    classic = max(wanted.get(name, 0) for name in (JSON, "application/*", "*/*"))
    if modern == classic and JSON in wanted:
        return next(name for name in wanted if name in (JSON, GRAPHQL_JSON))
    return GRAPHQL_JSON if modern and modern >= classic else JSON


def accepts_sse(accept: str) -> bool:
    return EVENTS in parse_accept(accept)


def accepts_multipart(accept: str) -> bool:
    """Whether the client knows Apollo's subscriptions; `multipart/mixed` alone is for other protocols too."""
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip().replace('"', "") for piece in part.split(";"))
        if name == PARTS and "subscriptionspec=1.0" in parameters and PARTS in parse_accept(accept):
            return True
    return False


def wants_only_events(accept: str) -> bool:
    """Whether nothing but events will do: some clients name every type they know in every request."""
    wanted = parse_accept(accept)
    return EVENTS in wanted and not any(name in wanted for name in (JSON, GRAPHQL_JSON, "application/*", "*/*"))
