"""Where to listen: whether we may, and whether the place is free."""

from __future__ import annotations

import socket

from gql_imgproc.core.loopback import is_loopback
from gql_imgproc.errors import ConfigurationError


def url_of(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable_url_of(host: str, port: int) -> str:
    """As `url_of`, but one that can be called: a wildcard becomes this machine."""
    return url_of({"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), port)


def check_host(host: str, *, allow_anonymous: bool) -> None:
    """Refuses to be open to other machines unless that was said aloud, since nobody is asked who they are."""
    if not (allow_anonymous or is_loopback(host)):
        raise ConfigurationError(
            f"Listening on {host or 'every address'} lets anyone who reaches this machine upload and delete, "
            "since callers are not asked who they are. Put a proxy that asks in front, or add --allow-anonymous"
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
