"""The Dockerfile, read: its stages, and what of the repository they are given."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    value: str

    @property
    def words(self) -> list[str]:
        """Without options such as `--from=page`."""
        return [word for word in shlex.split(self.value) if not word.startswith("--")]

    @property
    def command(self) -> list[str]:
        """Of the form that starts no shell."""
        found: list[str] = json.loads(self.value[self.value.index("[") :])
        return found

    @property
    def source_stage(self) -> str | None:
        """The stage that a COPY takes from; None for the repository."""
        found = re.match(r"--from=(\S+)", self.value)
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Stage:
    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def last(self, name: str) -> Instruction:
        return next(each for each in reversed(self.instructions) if each.name == name)


def stages() -> list[Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        name, _, value = line.partition(" ")
        if name == "FROM":
            base, _, stage = value.partition(" AS ")
            found.append(Stage(base, stage))
        elif name:
            found[-1].instructions.append(Instruction(name, value.strip()))
    return found


def is_in_context(path: Path) -> bool:
    """Whether the file gets past .dockerignore, whose last word on it counts."""
    relative = path.relative_to(ROOT)
    # A rule on a folder is one on all that is in it.
    names = [str(relative), *(str(parent) for parent in relative.parents if parent.name)]
    taken = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.removeprefix("!").removeprefix("**/")
        within = [part for name in names for part in (name, Path(name).name)] if "**/" in line else names
        if line and not line.startswith("#") and any(fnmatch(name, rule) for name in within):
            taken = line.startswith("!")
    return taken
