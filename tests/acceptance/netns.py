"""Hosts that can be disconnected from the network without notice to their peers.

Each host is a network namespace on a bridge. Where namespaces are not permitted, or with `TEST_HOSTS=processes`, a host
is a session of processes that share nothing but TCP; to disconnect it is then to suspend them.
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

from tests.support.free_port import free_port

#: Port of a host that has an IP address of its own.
PORT = 8000


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Host(ABC):
    """A host that runs one or more programs."""

    def __init__(self, name: str, ip: str, port: int) -> None:
        self.name, self.ip, self.port = name, ip, port
        self.url = f"http://{ip}:{port}"
        self._started: list[subprocess.Popen[str]] = []

    def run(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[str]:
        """Starts a program whose output is appended to the log."""
        with log.open("a") as file:
            self._started.append(
                subprocess.Popen(
                    [*self._command_prefix(), *command],
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
    def _command_prefix(self) -> list[str]: ...

    @abstractmethod
    def disconnect(self) -> None: ...

    @abstractmethod
    def reconnect(self) -> None: ...


class NamespaceHost(Host):
    def __init__(self, name: str, bridge: str, ip: str) -> None:
        super().__init__(name, ip, PORT)
        self._namespace = self._link = f"{bridge}{name}"
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", self._link, "master", bridge, "up")
        _ip("-n", self._namespace, "addr", "add", f"{ip}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self._namespace, "link", "set", device, "up")

    def _command_prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self._namespace]

    def disconnect(self) -> None:
        _ip("link", "set", self._link, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self._link, "up")

    def close(self) -> None:
        super().close()
        # Deleted explicitly: connections without a proper end keep the namespace alive for minutes.
        _ip("link", "delete", self._link)
        _ip("netns", "delete", self._namespace)


class SessionHost(Host):
    def _command_prefix(self) -> list[str]:
        return []

    def disconnect(self) -> None:
        for process in self._processes():
            process.suspend()

    def reconnect(self) -> None:
        for process in self._processes():
            process.resume()


class Network(ABC):
    """A network of hosts, and the IP address at which they reach this process."""

    def __init__(self, ip: str, cidr: str) -> None:
        self.ip, self.cidr = ip, cidr
        self.hosts: list[Host] = []

    @abstractmethod
    def host(self, name: str) -> Host: ...

    def close(self) -> None:
        for host in self.hosts:
            host.close()


class Bridge(Network):
    def __init__(self) -> None:
        # Each test process has a network of its own.
        number = os.getpid() % 0x4000
        self._prefix = f"10.{192 + (number >> 8)}.{number & 0xFF}"
        super().__init__(f"{self._prefix}.1", f"{self._prefix}.0/24")
        self._name = f"iq{number}"
        _ip("link", "add", self._name, "type", "bridge")
        _ip("addr", "add", f"{self.ip}/24", "dev", self._name)
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
        self.hosts.append(SessionHost(name, self.ip, free_port(host=self.ip)))
        return self.hosts[-1]


def available_kind() -> str:
    """The kind of hosts that this machine permits: `namespaces` or `processes`."""
    if os.environ.get("TEST_HOSTS") == "processes" or os.geteuid() != 0 or not shutil.which("ip"):
        return "processes"
    probe = f"iqprobe{os.getpid()}"
    # Some containers permit namespaces, but no virtual links.
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
