"""Builds the Dockerfile and runs its image where there is no engine.

A stage is a layer over this machine's own files, which stand in for its base image. So what is shown is that the
instructions fit the sources, that what they install is complete, and that it runs as a nameless user on a read-only
root; not that the base images hold what they should.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from gql_imgproc.system.process import wrap_die_with_parent
from tests.deploy.dockerfile import ROOT, Instruction, Stage, is_in_context, stages

#: How long one instruction may take, in seconds: packages come over the network.
RUN_S = 300
#: Where the system's own commands are: what root has installed for itself, nobody else may run.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNT = """
mount -t overlay overlay -o "lowerdir=/,upperdir=$LAYER,workdir=$LAYER.work" "$LAYER.root"
mount -t proc proc "$LAYER.root/proc"
mount --rbind /dev "$LAYER.root/dev"
"""
NAMESPACE = ("unshare", "--mount", "--propagation", "private")


def why_not() -> str | None:
    """What this machine lacks to do this; None when it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "only root may lay one folder over another"
    lacking = [tool for tool in ("unshare", "nsenter", "setpriv", "chroot", "npm") if shutil.which(tool) is None]
    if lacking:
        return f"there is no {lacking[0]}"
    tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return f"namespaces of our own are not allowed: {tried.stderr.strip()}" if tried.returncode else None


def build(folder: Path) -> Image:
    """Follows the Dockerfile; its last stage."""
    layers: dict[str, Path] = {}
    for stage in stages():
        layers[stage.name] = layer = folder / (stage.name or "image")
        for part in ("", ".work", ".root"):
            Path(f"{layer}{part}").mkdir()
        place = "/"
        for instruction in stage.instructions:
            match instruction.name:
                case "WORKDIR":
                    place = instruction.value
                    (layer / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    source = layers[instruction.source_stage] if instruction.source_stage else ROOT
                    _copy(instruction, source, layer, place)
                case "RUN":
                    script = f'{MOUNT} chroot "$LAYER.root" sh -ec {shlex.quote(f"cd {place}; {instruction.value}")}'
                    _run(script, layer)
    return Image(stage, layer)


def _copy(instruction: Instruction, source: Path, layer: Path, place: str) -> None:
    *names, target = instruction.words
    to = layer / os.path.join(place, target).lstrip("/")
    for name in names:
        found = source / name.strip("/")
        if source != ROOT:
            to.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", f"{found}/.", str(to)], check=True, timeout=RUN_S)
            continue
        files = [found] if found.is_file() else [path for path in found.rglob("*") if path.is_file()]
        files = [file for file in files if is_in_context(file)]
        assert files, f"COPY {name} finds nothing that .dockerignore lets past"
        for file in files:
            copied = to / (file.name if found.is_file() else file.relative_to(found))
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copied)


def _run(script: str, layer: Path) -> None:
    done = subprocess.run(
        [*NAMESPACE, "sh", "-ec", script],
        env={**os.environ, "PATH": PATH, "LAYER": str(layer)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}"


class Image:
    """The last stage, on a root that cannot be written, for as long as it is open."""

    def __init__(self, stage: Stage, layer: Path) -> None:
        self.stage = stage
        self.layer = layer
        self.environment = dict(
            word.replace("$PATH", PATH).split("=", 1)
            for each in stage.instructions
            if each.name == "ENV"
            for word in shlex.split(each.value)
        )
        self.user, self.group = stage.last("USER").value.split(":")

    def __enter__(self) -> Self:
        # Whoever holds the namespace; that a pipe to it is closed ends it, also when this process is killed.
        self._holder = subprocess.Popen(
            [*NAMESPACE, "sh", "-ec", f'{MOUNT} mount -o remount,ro "$LAYER.root"; echo ready; read _ || true'],
            env={**os.environ, "LAYER": str(self.layer)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate(timeout=10)

    def start(
        self,
        command: Sequence[str],
        *,
        settings: Mapping[str, str],
        log: Path,
        volumes: Sequence[Path] = (),
        entrypoint: Sequence[str] | None = None,
    ) -> Container:
        """As an engine told `--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges` would."""
        root = f"{self.layer}.root"
        binds = "".join(f'mkdir -p "{root}{path}"; mount --bind "{path}" "{root}{path}"\n' for path in volumes)
        inside = [
            *("setpriv", f"--reuid={self.user}", f"--regid={self.group}", "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *("env", "-i", *(f"{name}={value}" for name, value in (self.environment | dict(settings)).items())),
            *(self.stage.last("ENTRYPOINT").command if entrypoint is None else entrypoint),
            *command,
        ]
        script = f"""
            mount -t proc proc "{root}/proc"
            mount -t tmpfs -o mode=1777 tmpfs "{root}/tmp"
            {binds}
            cd /
            exec chroot "{root}" {shlex.join(inside)}
        """
        with log.open("ab") as told:
            process = subprocess.Popen(
                wrap_die_with_parent(
                    os.getpid(),
                    [
                        *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"),
                        *(*NAMESPACE, "--pid", "--fork", "--kill-child", "sh", "-ec", script),
                    ],
                ),
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
            )
        return Container(process, log)


@dataclass(frozen=True, slots=True)
class Container:
    """A process that is number 1 of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def first(self) -> psutil.Process:
        """Number 1, as this machine numbers it."""
        (first,) = psutil.Process(self.process.pid).children()
        return first

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)
