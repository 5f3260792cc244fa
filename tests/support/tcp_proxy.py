"""A TCP proxy in front of PostgreSQL that can refuse, break or freeze connections."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread

from sqlalchemy import URL, make_url

from tests.support.free_port import free_port


class TcpProxy:
    """Forwards connections to the server; `url` connects through the proxy."""

    def __init__(self, url: str) -> None:
        self._server = make_url(url)
        self._sockets: list[socket.socket] = []
        self._is_forwarding = Event()
        self._port = free_port()
        self._listener = self._bind()
        self.open()

    @property
    def url(self) -> str:
        return self.through(self._server).render_as_string(hide_password=False)

    def through(self, url: URL) -> URL:
        """The URL of the same database through the proxy."""
        return url.set(host="127.0.0.1", port=self._port, query={})

    def open(self) -> None:
        """Accepts connections (again)."""
        self._listener.listen()
        self._is_forwarding.set()
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Breaks open connections and refuses new ones."""
        self.close()
        self._listener = self._bind()

    def close(self) -> None:
        # Wakes the thread that accepts connections.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disconnect()

    def _bind(self) -> socket.socket:
        """Keeps the port from others. Until it listens, connections are refused."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", self._port))
        return bound

    def disconnect(self) -> None:
        """Breaks open connections."""
        for side in self._sockets:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._sockets.clear()
        self._is_forwarding.set()

    def freeze(self) -> None:
        """Stops forwarding data, without closing connections."""
        self._is_forwarding.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = self._connect()
            except OSError:
                return
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server.query.get("host") or self._server.host, self._server.port or 5432
        if isinstance(host, str) and not host.startswith("/"):
            return socket.create_connection((host, port))
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{host}/.s.PGSQL.{port}")
        return far

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._is_forwarding.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
