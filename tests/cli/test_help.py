"""The help of the command line, and what it imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from gql_imgproc import __version__
from gql_imgproc.cli.app import app

#: Packages that take long to import.
SLOW = {
    "alembic", "asyncio", "dramatiq", "httpx", "PIL", "pydantic", "redis", "rich", "sqlalchemy", "ssl", "starlette",
    "strawberry",
}  # fmt: skip
#: Modules of Python itself and of Typer, with a margin for the versions of Python; and those of the package.
MAX_MODULES, MAX_OWN_MODULES = 240, 40


def run_and_list_modules(*arguments: str) -> tuple[str, set[str]]:
    """Returns the output of a command, and the modules that its process had imported at the end."""
    code = (
        "import sys\nsys.argv[0] = 'gql-imgproc'\nfrom gql_imgproc.cli import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return process.stdout, set(process.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "  compress       Compress image files on this machine."),
        (["submit", "--help"], "Usage: gql-imgproc submit "),
        (["compress", "--help"], "Usage: gql-imgproc compress "),
        (["keys", "list", "--help"], "Usage: gql-imgproc keys list "),
    ],
)
def test_help_imports_no_slow_package(arguments: list[str], words: str) -> None:
    output, modules = run_and_list_modules(*arguments)

    assert words in output
    assert modules & SLOW == set()
    assert len(modules) <= MAX_MODULES
    assert sum(name.startswith("gql_imgproc") for name in modules) <= MAX_OWN_MODULES


def test_version_imports_not_even_typer() -> None:
    output, modules = run_and_list_modules("--version")

    assert output == f"gql-imgproc {__version__}\n"
    assert {name for name in modules if name.startswith(("gql_imgproc", "typer"))} == {"gql_imgproc", "gql_imgproc.cli"}


def test_help_of_every_command_begins_with_examples() -> None:
    root: Any = typer.main.get_command(app)
    commands = [root, *root.commands.values()]
    commands += [each for command in commands[1:] for each in getattr(command, "commands", {}).values()]

    without = [command.name for command in commands if "\b\nExample" not in command.help]

    # These two have commands only.
    assert without == ["keys", "tenants"]
    output, _ = run_and_list_modules("submit", "--help")
    assert output.index("Examples:\n") < output.index("Options:\n")


def test_help_lists_the_exit_statuses() -> None:
    output, _ = run_and_list_modules("--help")

    words = "0 done, 1 refused or failed, 2 usage, 3 some images failed, 4 service unreachable"
    assert words in " ".join(output.split())


def test_completion_lists_commands() -> None:
    code = "from gql_imgproc.cli import main; main()"
    environment = {"_GQL_IMGPROC_COMPLETE": "complete_bash", "COMP_WORDS": "gql-imgproc com", "COMP_CWORD": "1"}

    process = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'gql-imgproc'; {code}"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip

    assert process.stdout == "compress\n"
