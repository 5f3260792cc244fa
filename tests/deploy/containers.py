"""Builds the Dockerfile and runs its image without a container engine.

Each stage is an overlay on this machine's own files, which replace its base image. So the tests show that the
instructions work with the sources, that the installation is complete, and that it runs as an unnamed user on a
read-only root; not that the base images contain what is needed.
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

#: Timeout of an instruction, in seconds: packages are downloaded.
RUN_S = 300
#: Folders of system commands only: other users may not run what root installed for itself.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOUNT = """
mount -t overlay overlay -o "lowerdir=/,upperdir=$LAYER,workdir=$LAYER.work" "$LAYER.root"
mount -t proc proc "$LAYER.root/proc"
mount --rbind /dev "$LAYER.root/dev"
"""
NAMESPACE = ("unshare", "--mount", "--propagation", "private")


def find_obstacle() -> str | None:
    """Returns why this machine cannot build and run images; None when it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "overlay mounts need root"
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "chroot", "npm") if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    mount = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return f"mount namespaces are not allowed: {mount.stderr.strip()}" if mount.returncode else None


def build(folder: Path) -> Image:
    """Executes the Dockerfile; returns its last stage."""
    layers: dict[str, Path] = {}
    for stage in stages():
        layers[stage.name] = layer = folder / (stage.name or "image")
        for part in ("", ".work", ".root"):
            Path(f"{layer}{part}").mkdir()
        workdir = "/"
        for instruction in stage.instructions:
            match instruction.name:
                case "WORKDIR":
                    workdir = instruction.value
                    (layer / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "COPY":
                    source = layers[instruction.source_stage] if instruction.source_stage else ROOT
                    _copy(instruction, source, layer, workdir)
                case "RUN":
                    script = f'{MOUNT} chroot "$LAYER.root" sh -ec {shlex.quote(f"cd {workdir}; {instruction.value}")}'
                    _run(script, layer)
    return Image(stage, layer)


def _copy(instruction: Instruction, source: Path, layer: Path, workdir: str) -> None:
    *names, target = instruction.words
    to = layer / os.path.join(workdir, target).lstrip("/")
    for name in names:
        found = source / name.strip("/")
        if source != ROOT:
            to.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "--archive", f"{found}/.", str(to)], check=True, timeout=RUN_S)
            continue
        files = [found] if found.is_file() else [path for path in found.rglob("*") if path.is_file()]
        files = [file for file in files if is_in_context(file)]
        assert files, f"COPY {name}: .dockerignore excludes every file"
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
    """The last stage, on a read-only root while the context is open."""

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
        # This process keeps the namespace alive. It exits when its pipe is closed, also when this process is killed.
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
        """Runs like `docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges`."""
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
        with log.open("ab") as output:
            process = subprocess.Popen(
                wrap_die_with_parent(
                    os.getpid(),
                    [
                        *("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--"),
                        *(*NAMESPACE, "--pid", "--fork", "--kill-child", "sh", "-ec", script),
                    ],
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Container(process, log)


@dataclass(frozen=True, slots=True)
class Container:
    """A process that is PID 1 of its own namespace."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def main_process(self) -> psutil.Process:
        """The process that is PID 1 in the container."""
        (main_process,) = psutil.Process(self.process.pid).children()
        return main_process

    def wait(self, seconds: float) -> int:
        return self.process.wait(seconds)
