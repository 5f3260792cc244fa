"""Hosts whose cables can be pulled: nothing comes in, nothing goes out, and nobody is told.

Each is a network namespace on a bridge. Where those are not allowed, or `TEST_HOSTS=processes` says so, a host is a
session of processes that share nothing but TCP; to pull its cable is then to stop them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from gql_imgproc.standalone.preflight import check_port

#: Of a host whose address is its own.
PORT = 8000


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host(ABC):
    """A host that runs a program, and others beside it."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name, self.address, self.port = name, address, port
        self.url = f"http://{address}:{port}"
        self._started: list[subprocess.Popen[str]] = []

    def run(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
        """Starts a program; what it says is put behind what is in the log."""
        with log.open("a") as file:
            self._started.append(
                subprocess.Popen(
                    [*self._inside(), *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    text=True,
                    start_new_session=True,
                )
            )
        return self._started[-1]

    def close(self) -> None:
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for started in self._started:
            started.wait(10)

    def _processes(self) -> list[psutil.Process]:
        running = [psutil.Process(started.pid) for started in self._started if started.poll() is None]
        return [each for root in running for each in (root, *root.children(recursive=True))]

    @abstractmethod
    def _inside(self) -> list[str]: ...

    @abstractmethod
    def unplug(self) -> None: ...

    @abstractmethod
    def plug_in(self) -> None: ...


class NamespaceHost(Host):
    def __init__(self, name: str, bridge: str, address: str) -> None:
        super().__init__(name, address, PORT)
        self._space = self._cable = f"{bridge}{name}"
        _ip("netns", "add", self._space)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _ip("link", "set", self._cable, "master", bridge, "up")
        _ip("-n", self._space, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self._space, "link", "set", device, "up")

    def _inside(self) -> list[str]:
        return ["ip", "netns", "exec", self._space]

    def unplug(self) -> None:
        _ip("link", "set", self._cable, "down")

    def plug_in(self) -> None:
        _ip("link", "set", self._cable, "up")

    def close(self) -> None:
        super().close()
        # Not left to the namespace: connections that were never told that they ended keep that for minutes.
        _ip("link", "delete", self._cable)
        _ip("netns", "delete", self._space)


class SessionHost(Host):
    def _inside(self) -> list[str]:
        return []

    def unplug(self) -> None:
        for process in self._processes():
            process.suspend()

    def plug_in(self) -> None:
        for process in self._processes():
            process.resume()


class Network(ABC):
    """What joins hosts, and the address at which they reach this process."""

    def __init__(self, address: str, cidr: str) -> None:
        self.address, self.cidr = address, cidr
        self.hosts: list[Host] = []

    @abstractmethod
    def host(self, name: str) -> Host: ...

    def close(self) -> None:
        for host in self.hosts:
            host.close()


class Bridge(Network):
    def __init__(self) -> None:
        # Test processes that run side by side have networks of their own.
        number = os.getpid() % 0x4000
        self._prefix = f"10.{192 + (number >> 8)}.{number & 0xFF}"
        super().__init__(f"{self._prefix}.1", f"{self._prefix}.0/24")
        self._name = f"iq{number}"
        _ip("link", "add", self._name, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._name)
        _ip("link", "set", self._name, "up")

    def host(self, name: str) -> Host:
        self.hosts.append(NamespaceHost(name, self._name, f"{self._prefix}.{10 + len(self.hosts)}"))
        return self.hosts[-1]

    def close(self) -> None:
        super().close()
        _ip("link", "delete", self._name)


class Loopback(Network):
    def __init__(self) -> None:
        super().__init__("127.0.0.1", "127.0.0.0/8")

    def host(self, name: str) -> Host:
        self.hosts.append(SessionHost(name, self.address, check_port(self.address, 0)))
        return self.hosts[-1]


def kind() -> str:
    """In what tests run here."""
    if os.environ.get("TEST_HOSTS") == "processes" or os.geteuid() != 0 or not shutil.which("ip"):
        return "processes"
    probe = f"iqprobe{os.getpid()}"
    # What may make a namespace may not make a cable, in some containers.
    try:
        _ip("netns", "add", probe)
    except subprocess.CalledProcessError:
        return "processes"
    try:
        _ip("link", "add", probe, "type", "veth", "peer", "name", "eth0", "netns", probe)
        _ip("link", "delete", probe)
    except subprocess.CalledProcessError:
        return "processes"
    finally:
        _ip("netns", "delete", probe)
    return "namespaces"


@contextmanager
def network(kind: str) -> Iterator[Network]:
    opened: Network = Bridge() if kind == "namespaces" else Loopback()
    try:
        yield opened
    finally:
        opened.close()
