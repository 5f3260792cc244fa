"""A way over TCP to a PostgreSQL server that can be shut, broken or frozen, as networks are."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread

from sqlalchemy import URL, make_url


class Gate:
    """Passes connections on; `url` is the address on this side."""

    def __init__(self, url: str) -> None:
        self._server = make_url(url)
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._flows = Event()
        self._port = 0
        self.open()

    @property
    def url(self) -> str:
        return self.at(self._server).render_as_string(hide_password=False)

    def at(self, url: URL) -> URL:
        """The same database on this side of the gate."""
        return url.set(host="127.0.0.1", port=self._port, query={})

    def open(self) -> None:
        """Connections come through (again)."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._flows.set()
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Connections that there are break, new ones are refused."""
        if self._listener is not None:
            # Wakes the thread that waits on it.
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """Connections that there are break."""
        for side in self._sockets:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._sockets.clear()
        self._flows.set()

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flows.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
                far = self._connect()
            except OSError:
                return
            self._sockets += [near, far]
            for source, target in ((near, far), (far, near)):
                Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._server.query.get("host") or self._server.host, self._server.port or 5432
        if isinstance(host, str) and not host.startswith("/"):
            return socket.create_connection((host, port))
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{host}/.s.PGSQL.{port}")
        return far

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                self._flows.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
