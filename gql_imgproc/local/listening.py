"""Where to listen: whether we may, and whether the place is free."""

from __future__ import annotations

import socket

from gql_imgproc.core.loopback import is_loopback
from gql_imgproc.db.engine import Database
from gql_imgproc.db.keys import any_usable_key
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.services.access import Anonymous


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable_url_of(host: str, port: int) -> str:
    """As `url_of`, but one that can be called: a wildcard becomes this machine."""
    return url_of({"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), port)


def who_may_be_anonymous(host: str, *, allow_anonymous: bool) -> Anonymous:
    """When callers need no API key: on this machine alone, while there is none; elsewhere if that was said aloud."""
    if allow_anonymous:
        return Anonymous.ALWAYS
    return Anonymous.WHILE_NO_KEY if is_loopback(host) else Anonymous.NEVER


def check_keys(database_url: str, host: str, anonymous: Anonymous) -> None:
    """Raises ConfigurationError where nobody could come in: callers are asked for a key, and there is none."""
    if anonymous is not Anonymous.NEVER:
        return
    database = Database(database_url)
    try:
        there_is_one = database.read_now(any_usable_key)
    finally:
        database.close()
    if not there_is_one:
        raise ConfigurationError(
            f"Listening on {host or 'every address'} lets other machines in, so callers are asked for an API key, and "
            "there is none yet. Make one with `gql-imgproc keys create`, or add --allow-anonymous to ask nobody"
        )


def check_port(host: str, port: int) -> int:
    """The port, or a free one for 0; raises ConfigurationError when it cannot be listened on."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        with socket.socket(family, kind) as probe:
            # As servers do: connections of an earlier run that linger are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {reason}. Stop what listens there, or choose another --port"
        ) from None
