"""Documents that list things list what the code has."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from graphql import build_schema, parse, validate
from pydantic import ByteSize

from gql_imgproc.cli.serve import api, up, worker
from gql_imgproc.core.fetch_fault import FetchFault
from gql_imgproc.db.migration import upgrade
from gql_imgproc.settings import MiB, Settings
from tests.graphql.api import served

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown(default: Any) -> str:
    """A default as it would be written in the environment."""
    match default:
        case None | "" | ():
            return ""
        case ByteSize() if default % MiB == 0:
            return f"`{default // MiB}MiB`"
        case frozenset() | tuple():
            return "`" + ",".join(f"{entry:g}" for entry in sorted(default)) + "`"
        case float():
            return f"`{default:g}`" if default < 1e6 else f"`{default:.0f}`"
        case _:
            return f"`{default}`"


def settings_table() -> str:
    rows = [
        f"| `IMGPROC_{name.upper()}` | {shown(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def test_the_readme_has_every_setting_with_its_default() -> None:
    table = re.search(r"<!-- settings.*?-->\n(.*?)\n?<!-- /settings -->", README, re.DOTALL)
    assert table is not None
    assert table[1] == settings_table()


def faults_table() -> str:
    rows = [
        f"| {row.meaning} | `{row.code.value}` | {'yes' if row.temporary else 'no'} |"
        for row in (fault.value for fault in FetchFault)
    ]
    return "\n".join(["| what came of it | error code | tried again |", "| --- | --- | --- |", *rows])


def test_the_reliability_page_has_every_way_in_which_a_fetch_fails() -> None:
    page = (ROOT / "docs/RELIABILITY.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- faults.*?-->\n(.*?)\n?<!-- /faults -->", page, re.DOTALL)
    assert table is not None
    assert table[1] == faults_table()


def test_the_readme_has_every_command() -> None:
    table = README.split("## Commands")[1].split("## ")[0]
    listed = set(re.findall(r"^\| `gql-imgproc ([a-z-]+)|, `gql-imgproc ([a-z-]+)", table, re.MULTILINE))
    help_text = subprocess.run(
        [sys.executable, "-m", "gql_imgproc", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    offered = set(re.findall(r"^│ ([a-z][a-z-]*) ", help_text, re.MULTILINE))
    assert offered == {one or other for one, other in listed}


@pytest.mark.parametrize("command", [up, api, worker])
def test_the_readme_has_every_option_of_what_serves(command: Callable[..., None]) -> None:
    row = next(line for line in README.splitlines() if re.match(rf"\| `.*gql-imgproc {command.__name__}`", line))
    app = typer.Typer(add_completion=False)
    app.command()(command)
    for option in typer.main.get_command(app).params:
        if not getattr(option, "hidden", False) and option.name != "help":
            assert f"`{option.opts[0]}`" in row


@pytest.mark.parametrize("document", sorted(path.name for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]))
def test_graphql_examples_are_valid(document: str) -> None:
    path = ROOT / document if document == "README.md" else ROOT / "docs" / document
    text = path.read_text(encoding="utf-8")
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    examples = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)
    examples += re.findall(r'"query": "(.*?)"', text, re.DOTALL)

    for example in examples:
        assert validate(schema, parse(example)) == []


def by_shell(command: str, folder: Path) -> str:
    """What the command prints."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_httpx(command: str, folder: Path) -> str:
    """What curl would print, by a client that is there on every machine."""
    _, url, *options = shlex.split(command.replace("\\\n", ""))
    headers: dict[str, str] = {}
    parts: dict[str, Any] = {}
    for option, value in zip(options[::2], options[1::2], strict=True):
        name, _, content = value.partition(": " if option == "-H" else "=")
        if option == "-H":
            headers[name] = content
        else:
            assert option == "-F"
            file = content.removeprefix("@")
            parts[name] = (None, content) if file == content else (file, (folder / file).read_bytes())
    return httpx.post(url, headers=headers, files=parts, timeout=60).text


@pytest.mark.parametrize("send", [by_httpx, *([by_shell] if shutil.which("curl") else [])])
def test_the_upload_example_uploads_the_example(
    send: Callable[[str, Path], str], redis_url: str, tmp_path: Path
) -> None:
    # Given the README's CSV and its command, for a service elsewhere,
    upload = README.split("### Upload")[1]
    (command,) = re.findall(r"```sh\n(curl .*?)```", upload, re.DOTALL)
    (tmp_path / "products.csv").write_text(re.findall(r"```csv\n(.*?)```", README, re.DOTALL)[0], encoding="utf-8")
    settings = Settings(
        _env_file=None, data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'test.db'}", redis_url=redis_url
    )
    upgrade(settings.database_url)

    # when it is run as it stands,
    async def story() -> str:
        async with served(settings) as (host, _):
            return await asyncio.to_thread(send, command.replace("127.0.0.1:8000", host), tmp_path)

    answer = json.loads(asyncio.run(story()))

    # then the answer is the one that the README shows.
    (shown,) = re.findall(r"```json\n(.*?)```", upload, re.DOTALL)
    expected = json.loads(shown)
    assert answer["data"]["uploadCsv"]["request"].pop("id").startswith("req_")
    assert expected["data"]["uploadCsv"]["request"].pop("id") == "req_0199…"
    assert answer == expected


def test_every_promise_names_tests_that_there_are() -> None:
    promises = re.findall(r"^\| (P\d+) \|.*\|(.*)\|$", (ROOT / "docs/RELIABILITY.md").read_text(), re.MULTILINE)
    assert [name for name, _ in promises] == [f"P{n}" for n in range(1, 13)]

    for promise, shown_by in promises:
        named = re.findall(r"`(tests/[^`]*)`", shown_by)
        assert named, promise
        for test in named:
            file, _, function = test.partition("::")
            assert f"def {function or 'test_'}" in (ROOT / file).read_text(), test


@pytest.mark.parametrize(
    "document", sorted(str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


if __name__ == "__main__":
    sys.stdout.write(settings_table() + "\n\n" + faults_table() + "\n")
