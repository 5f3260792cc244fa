"""A parser of the Dockerfile and of .dockerignore."""

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
        """Words without options such as `--from=page`."""
        return [word for word in shlex.split(self.value) if not word.startswith("--")]

    @property
    def command(self) -> list[str]:
        """The command of the exec form."""
        found: list[str] = json.loads(self.value[self.value.index("[") :])
        return found

    @property
    def source_stage(self) -> str | None:
        """The source stage of a COPY; None for the build context."""
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
    """Whether .dockerignore includes the file; the last matching rule decides."""
    relative = path.relative_to(ROOT)
    # A rule for a folder applies to all its files.
    names = [str(relative), *(str(parent) for parent in relative.parents if parent.name)]
    is_included = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        rule = line.removeprefix("!").removeprefix("**/")
        within = [part for name in names for part in (name, Path(name).name)] if "**/" in line else names
        if line and not line.startswith("#") and any(fnmatch(name, rule) for name in within):
            is_included = line.startswith("!")
    return is_included
