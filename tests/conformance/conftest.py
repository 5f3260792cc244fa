"""Published clients of GraphQL, one real service, and an image host that waits for a release."""

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
#: Timeout of one client, in seconds.
SCENARIO_TIMEOUT_S = 40


@pytest.fixture(scope="session")
def packages() -> Path:
    return install_packages(CLIENTS)


@pytest.fixture
def node(packages: Path) -> Callable[..., Any]:
    """Runs a script of this folder, and returns the JSON it prints."""

    def node(script: str, *arguments: str | Path) -> Any:
        command = ["node", str(FOLDER / script), *map(str, arguments)]
        process = subprocess.run(command, capture_output=True, text=True, timeout=SCENARIO_TIMEOUT_S, check=False)
        assert process.returncode == 0, process.stderr + process.stdout
        return json.loads(process.stdout)

    return node


class HeldImages:
    """A host that holds back the images of a test until `/release/…` is requested, so no subscriber is too late."""

    def __init__(self) -> None:
        self._released: dict[str, Event] = {}
        self._image = sample_images.render_sample("gift-card.gif")

    def answer(self, path: str) -> bytes:
        _, kind, name, *_ = path.split("/")
        released = self._released.setdefault(name, Event())
        if kind == "release":
            released.set()
            return b""
        released.wait(SCENARIO_TIMEOUT_S)
        return self._image


@pytest.fixture(scope="session")
def images_url() -> Iterator[str]:
    with host(HeldImages().answer) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}
    service = Service(tmp_path_factory.mktemp("service"), ("--workers", "1"), settings)
    try:
        yield service
        status = service.stop()
    finally:
        service.close()
    log = service.log.read_text()
    assert (status, " error " in log) == (0, False), log


@dataclass(frozen=True, slots=True)
class Shop:
    """A CSV with three image URLs, and the URL that releases the images."""

    csv: Path
    release_url: str


@pytest.fixture
def shop(images_url: str, tmp_path: Path) -> Shop:
    name = tmp_path.name
    rows = "".join(f"{n},Shirt,{images_url}/images/{name}/{n}.gif\n" for n in (1, 2, 3))
    csv = tmp_path / "shop.csv"
    csv.write_text(f"S. No.,Product Name,Input Image Urls\n{rows}")
    return Shop(csv, f"{images_url}/release/{name}")
