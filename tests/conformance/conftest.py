"""Clients as people have them, before one real service and a host of pictures that waits to be told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service
from tests.acceptance.netns_hosts import host
from tests.support.npm import CLIENTS, install_packages

FOLDER = Path(__file__).parent
DOCUMENTS: dict[str, str] = json.loads((FOLDER / "documents.json").read_text(encoding="utf-8"))
#: How long one client may take to tell its story, in seconds.
STORY_S = 40


@pytest.fixture(scope="session")
def packages() -> Path:
    return install_packages(CLIENTS)


@pytest.fixture
def node(packages: Path) -> Callable[..., Any]:
    """Runs a script of this folder; what it printed, read as JSON."""

    def node(script: str, *arguments: str | Path) -> Any:
        command = ["node", str(FOLDER / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=STORY_S, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    return node


class Pictures:
    """A host whose pictures come when somebody has asked it for `/go/…`, so that no watcher is too slow."""

    def __init__(self) -> None:
        self._told: dict[str, Event] = {}
        self._picture = sample_images.render_sample("gift-card.gif")

    def answer(self, path: str) -> bytes:
        _, kind, name, *_ = path.split("/")
        told = self._told.setdefault(name, Event())
        if kind == "go":
            told.set()
            return b""
        told.wait(STORY_S)
        return self._picture


@pytest.fixture(scope="session")
def pictures_url() -> Iterator[str]:
    with host(Pictures().answer) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}
    started = Service(tmp_path_factory.mktemp("service"), ("--workers", "1"), settings)
    try:
        yield started
        status = started.stop()
    finally:
        started.close()
    said = started.log.read_text()
    assert (status, " error " in said) == (0, False), said


@dataclass(frozen=True, slots=True)
class Shop:
    """A CSV of three pictures, and the address that lets them come."""

    csv: Path
    go: str


@pytest.fixture
def shop(pictures_url: str, tmp_path: Path) -> Shop:
    name = tmp_path.name
    rows = "".join(f"{n},Shirt,{pictures_url}/pictures/{name}/{n}.gif\n" for n in (1, 2, 3))
    csv = tmp_path / "shop.csv"
    csv.write_text(f"S. No.,Product Name,Input Image Urls\n{rows}")
    return Shop(csv, f"{pictures_url}/go/{name}")
