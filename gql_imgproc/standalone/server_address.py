"""The host and port that a server listens on: whether they are free, and the URL that clients use."""

from __future__ import annotations

import errno
import socket

from gql_imgproc.errors import ConfigurationError

_PORT_FIXES: dict[int | None, str] = {
    errno.EADDRINUSE: "Stop the process that uses the port, or choose another with --port",
    errno.EACCES: "Choose a port above 1023 with --port",
}


def server_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable_url(host: str, port: int) -> str:
    """Like `server_url`, with a loopback IP address instead of a wildcard, which no client can connect to."""
    return server_url({"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host), port)


def check_port(host: str, port: int) -> int:
    """Returns the port, or a free one for 0; raises ConfigurationError when a server cannot listen on it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, socket_address = found[0]
        with socket.socket(family, kind) as probe:
            # Servers set this too: lingering connections of an earlier run do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(socket_address)
            probe.listen(1)
            return int(probe.getsockname()[1])
    except OSError as error:
        # Another error is one of the host: an unknown name, or an IP address of another machine.
        fix = _PORT_FIXES.get(error.errno, "Name this machine with --host: an IP address or host name of its own")
        raise ConfigurationError(f"Cannot listen on {host} port {port}: {error.strerror or error}. {fix}") from None
