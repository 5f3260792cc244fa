"""Ports that servers can be stopped and started on again while tests run."""

from __future__ import annotations

import random
import socket

#: Below the ports that systems give to outgoing connections, which could take a port between two servers.
PORTS = range(10_000, 32_000)

# Two pytest processes with the same seed shall not choose the same ports.
_random = random.SystemRandom()


def free_port(together: int = 1, host: str = "127.0.0.1") -> int:
    """A random free port, followed by `together - 1` free ports."""
    while True:
        port = _random.choice(PORTS)
        try:
            for other in range(port, port + together):
                socket.create_server((host, other)).close()
        except OSError:
            continue
        return port
