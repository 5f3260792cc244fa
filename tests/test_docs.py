"""Documents list what the code has. `python -m tests.test_docs` writes the generated tables."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import yaml
from graphql import build_schema, parse, validate
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from gql_imgproc import metrics
from gql_imgproc.cli.app import app
from gql_imgproc.csvfile.workbook import TIMEOUT_S
from gql_imgproc.csvfile.workbook_process import MAX_FILES as MAX_WORKBOOK_FILES
from gql_imgproc.csvfile.workbook_process import MAX_MEMORY_BYTES, MAX_UNPACKED_BYTES
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.graphql.documents import MAX_TOKENS
from gql_imgproc.graphql.multipart import MAX_FIELDS, MAX_FILES, MULTIPART_MARGIN_BYTES, OVERSIZE_FACTOR
from gql_imgproc.graphql.query_limits import MAX_ALIASES, MAX_DEPTH
from gql_imgproc.graphql.request_body import MAX_JSON_BYTES
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE
from gql_imgproc.graphql.websocket import MAX_OPERATIONS_PER_SOCKET, SOCKET_INIT_SECONDS
from gql_imgproc.imaging.compress import ImageLimits
from gql_imgproc.net.address_policy import MAX_URL_CHARS
from gql_imgproc.net.fetch_errors import FetchErrorKind
from gql_imgproc.net.fetch_limits import FetchLimits
from gql_imgproc.net.http_client import MAX_IPS_TRIED
from gql_imgproc.requests.limits import csv_limits, image_limits
from gql_imgproc.requests.upload import MAX_EXPANSION
from gql_imgproc.settings import DEPRECATED, Settings
from gql_imgproc.settings_files import FROM_FILE
from gql_imgproc.settings_types import MiB
from gql_imgproc.web.http_limits import (
    LEAST_BYTES_PER_SECOND,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
    Http,
)
from gql_imgproc.web.server import WEBSOCKET_MESSAGE_BYTES
from gql_imgproc.webhooks.client import MAX_RESPONSE_BYTES
from tests.graphql.client import serve_api

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")


def format_default(default: Any) -> str:
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


def describe(field: FieldInfo) -> str:
    """The description of a setting in one line."""
    return " ".join((field.description or "").split())


def settings_table() -> str:
    rows = [
        f"| `IMGPROC_{name.upper()}` | {format_default(field.default)} | {describe(field)} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])


def fetch_errors_table() -> str:
    rows = [
        f"| {spec.meaning} | `{spec.code.value}` | {'yes' if spec.retryable else 'no'} |"
        for spec in (kind.value for kind in FetchErrorKind)
    ]
    return "\n".join(["| cause | error code | retried |", "| --- | --- | --- |", *rows])


def metrics_table() -> str:
    rows = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if isinstance(metric, Counter) else "_info" if isinstance(metric, Info) else ""
            labels = ("version",) if isinstance(metric, Info) else metric._labelnames
            rows.append((f"{metric._name}{suffix}", metric._type, labels, "process", metric._documentation))
    for figure in (each for each in vars(metrics).values() if isinstance(each, metrics.ServiceMetric)):
        labels = (figure.label,) if figure.label else ()
        kind = "counter" if figure.is_counter else "gauge"
        rows.append((figure.name, kind, labels, "service", figure.documentation))
    return "\n".join(
        [
            "| name | type | labels | of | meaning |",
            "| --- | --- | --- | --- | --- |",
            *(
                f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {whose} | {meaning} |"
                for name, kind, labels, whose, meaning in rows
            ),
        ]
    )


def alerts_table() -> str:
    (group,) = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    rows = [
        f"| `{rule['alert']}` | {rule['labels']['severity']} | {rule['for']} | {rule['annotations']['summary']} |"
        for rule in group["rules"]
    ]
    return "\n".join(["| alert | severity | after | meaning |", "| --- | --- | --- | --- |", *rows])


def limits_table() -> str:
    """The limits for untrusted input: settings with their names, constants as `fixed`."""
    compression, manifest = ImageLimits(), csv_limits(Settings(_env_file=None))
    (redirects,) = (field.default for field in dataclasses.fields(FetchLimits) if field.name == "max_redirects")
    in_settings = [
        (describe(field), format_default(field.default), f"`IMGPROC_{name.upper()}`")
        for name, field in Settings.model_fields.items()
        if name.startswith(("max_", "fetch_", "worker_memory", "webhook_timeout"))
        and name not in (*DEPRECATED, "fetch_hosts_file", "fetch_proxy")
    ]
    in_code = [
        ("Largest JSON body, and largest field of a multipart body without the file, in bytes.", MAX_JSON_BYTES),
        ("Multipart body without the file, in bytes.", MULTIPART_MARGIN_BYTES),
        ("A multipart body larger than this many times the largest file is refused unread.", OVERSIZE_FACTOR),
        ("Files in a multipart body.", MAX_FILES),
        ("Fields in a multipart body.", MAX_FIELDS),
        ("Header of an HTTP request including its target, in bytes.", MAX_HEAD_BYTES),
        ("Time for the complete header of an HTTP request, in seconds.", int(Http.head_seconds)),
        ("Lowest rate of a request body and of a response, in bytes per second.", LEAST_BYTES_PER_SECOND),
        ("Period in which a request body must bring that many bytes per second, in seconds.", int(Http.body_seconds)),
        (
            "Period in which a response must be read at that rate, also over a WebSocket, in seconds.",
            int(Http.answer_seconds),
        ),
        ("Connections of one API process, or three quarters of its file descriptors if that is less.", MAX_CONNECTIONS),
        ("Pipelined HTTP requests on one connection.", MAX_PIPELINED),
        ("Largest WebSocket message, in bytes.", WEBSOCKET_MESSAGE_BYTES),
        ("Time for the first message of a WebSocket, in seconds.", SOCKET_INIT_SECONDS),
        ("Concurrent operations on one WebSocket.", MAX_OPERATIONS_PER_SOCKET),
        ("Tokens in a GraphQL document.", MAX_TOKENS),
        ("Depth of a GraphQL operation.", MAX_DEPTH),
        ("Aliases in a GraphQL operation.", MAX_ALIASES),
        ("Largest page of a connection.", MAX_PAGE_SIZE),
        ("Longest URL, in characters.", MAX_URL_CHARS),
        ("Images of one product.", manifest.max_images_per_product),
        ("Problems of a CSV file that are listed; all are counted.", manifest.max_issues),
        ("Longest row of a CSV file, in characters.", manifest.longest_row_chars),
        ("Longest product name, in characters.", manifest.max_name_chars),
        ("Memory of the process that reads a workbook, in bytes.", MAX_MEMORY_BYTES),
        ("Content of a workbook when it is unpacked, in bytes.", MAX_UNPACKED_BYTES),
        ("Files in a workbook.", MAX_WORKBOOK_FILES),
        ("Time to read a workbook, in seconds.", int(TIMEOUT_S)),
        ("Size of a sheet as text, as a multiple of the largest upload.", MAX_EXPANSION),
        ("Redirects that a download follows.", redirects),
        ("IP addresses of one host that are tried.", MAX_IPS_TRIED),
        (
            "Pixels of all frames of an image together, with the default of `IMGPROC_MAX_IMAGE_PIXELS`.",
            compression.max_total_pixels,
        ),
        ("Frames of an animation or a TIFF.", compression.max_frames),
        ("Scans in a JPEG.", compression.max_jpeg_scans),
        ("Bytes that are read of a webhook receiver's response.", MAX_RESPONSE_BYTES),
    ]
    rows = [*in_settings, *((meaning, f"{value:,}", "fixed") for meaning, value in in_code)]
    return "\n".join(
        ["| limit | default | set by |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    )


def commands_section() -> str:
    """Every command with its arguments and options."""
    root: Any = typer.main.get_command(app)
    parts = []
    for name, command in root.commands.items():
        subcommands = getattr(command, "commands", {})
        parts.append(command_part(name, command))
        parts += [command_part(f"{name} {subname}", subcommand) for subname, subcommand in subcommands.items()]
    return "\n\n".join(parts)


def command_part(name: str, command: Any) -> str:
    lines = [f"### `gql-imgproc {name}`"]
    for paragraph in (command.help or "").split("\n\n"):
        if paragraph.startswith("\b\n"):
            lines += ["", "```sh", *(line.strip() for line in paragraph.splitlines()[2:]), "```"]
        else:
            lines += ["", " ".join(paragraph.split())]
    rows = [
        f"| `{parameter_name(parameter)}` | {parameter_default(parameter)} | {getattr(parameter, 'help', None) or ''} |"
        for parameter in command.params
        if not getattr(parameter, "hidden", False) and parameter.name != "help"
    ]
    if rows:
        lines += ["", "| option | default | meaning |", "| --- | --- | --- |", *rows]
    return "\n".join(lines)


def parameter_name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name).strip("{}").upper()
    return " / ".join([*parameter.opts, *parameter.secondary_opts])


def parameter_default(parameter: Any) -> str:
    described = getattr(parameter, "show_default", None)
    if parameter.required:
        return "required"
    if isinstance(described, str):
        return described
    match parameter.default:
        case None | False:
            return ""
        case True:
            return f"`{parameter.opts[0]}`"
        case default:
            return f"`{default}`"


#: Document, name of a block in it, and what the block must contain.
GENERATED: list[tuple[str, str, Callable[[], str]]] = [
    ("docs/SETTINGS.md", "settings", settings_table),
    ("docs/COMMANDS.md", "commands", commands_section),
    ("docs/RELIABILITY.md", "faults", fetch_errors_table),
    ("docs/SECURITY.md", "limits", limits_table),
    ("docs/OBSERVABILITY.md", "metrics", metrics_table),
    ("docs/OBSERVABILITY.md", "alerts", alerts_table),
]


def block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}: generated .*?-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize(("document", "name", "generate"), GENERATED, ids=[name for _, name, _ in GENERATED])
def test_generated_block_is_up_to_date(document: str, name: str, generate: Callable[[], str]) -> None:
    found = block(name).search((ROOT / document).read_text(encoding="utf-8"))

    assert found is not None
    assert found[2].rstrip("\n") == generate(), "run `python -m tests.test_docs`"


def test_documented_limits_are_the_defaults() -> None:
    settings = Settings(_env_file=None)

    assert image_limits(settings).max_total_pixels == ImageLimits().max_total_pixels


def test_every_threat_names_existing_tests() -> None:
    threats = SECURITY.split("## Threats")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!threat|---)([^|]*)\|[^|]*\|(.*)\|$", threats, re.MULTILINE)
    assert len(rows) > 20

    for threat, evidence in rows:
        assert_tests_exist(threat, evidence)


def test_security_page_explains_the_risk_of_every_permissive_setting() -> None:
    table = SECURITY.split("## Settings that reduce protection")[1].split("\n## ")[0]
    named = {name.lower() for name in re.findall(r"`IMGPROC_([A-Z_]+)", table)}

    assert named <= set(Settings.model_fields)
    assert "introspection" in named
    assert {name for name in Settings.model_fields if name.startswith(("fetch_", "max_"))} <= named | {
        "fetched_bytes_in_flight",
        *DEPRECATED,
    }


@pytest.mark.parametrize("document", sorted(path.name for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]))
def test_graphql_examples_are_valid(document: str) -> None:
    path = ROOT / document if document == "README.md" else ROOT / "docs" / document
    text = path.read_text(encoding="utf-8")
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    examples = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)
    examples += re.findall(r'"query": "(.*?)"', text, re.DOTALL)

    for example in examples:
        assert validate(schema, parse(example)) == []


def test_queries_of_the_debugging_page_are_valid(tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 'test.db'}")
    page = (ROOT / "docs/DEBUGGING.md").read_text(encoding="utf-8")
    queries = re.findall(r'imgproc\.db "(SELECT.*?)"', page, re.DOTALL)
    assert len(queries) == 4

    with closing(sqlite3.connect(tmp_path / "test.db")) as connection:
        for query in queries:
            assert connection.execute(query).fetchall() == []


def send_with_shell(command: str, folder: Path) -> str:
    """Returns the output of the command."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def send_with_httpx(command: str, folder: Path) -> str:
    """Returns what curl would print; httpx is available on every machine."""
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


@pytest.mark.parametrize("send", [send_with_httpx, *([send_with_shell] if shutil.which("curl") else [])])
async def test_upload_example_of_the_readme_works(
    send: Callable[[str, Path], str], redis_url: str, tmp_path: Path
) -> None:
    # Given the CSV and the command of the README, and a service at another URL,
    upload = README.split("### Upload")[1]
    (command,) = re.findall(r"```sh\n(curl .*?)```", upload, re.DOTALL)
    (tmp_path / "products.csv").write_text(re.findall(r"```csv\n(.*?)```", README, re.DOTALL)[0], encoding="utf-8")
    settings = Settings(
        _env_file=None, data_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'test.db'}", redis_url=redis_url
    )
    upgrade(settings.database_url)

    # when the command runs,
    async with serve_api(settings) as (host, _):
        response = json.loads(await asyncio.to_thread(send, command.replace("127.0.0.1:8000", host), tmp_path))

    # then the response is the one in the README.
    (example,) = re.findall(r"```json\n(.*?)```", upload, re.DOTALL)
    expected = json.loads(example)
    assert response["data"]["uploadCsv"]["request"].pop("id").startswith("req_")
    assert expected["data"]["uploadCsv"]["request"].pop("id") == "req_0199…"
    assert response == expected


def test_every_promise_names_existing_tests() -> None:
    promises = re.findall(r"^\| (P\d+) \|.*\|(.*)\|$", (ROOT / "docs/RELIABILITY.md").read_text(), re.MULTILINE)
    assert [name for name, _ in promises] == [f"P{n}" for n in range(1, 16)]

    for promise, evidence in promises:
        assert_tests_exist(promise, evidence)


def assert_tests_exist(what: str, evidence: str) -> None:
    named = re.findall(r"`(tests/[^`]*)`", evidence)
    assert named, what
    for test in named:
        file, _, function = test.partition("::")
        assert re.search(rf"def {function}\(" if function else "def test_", (ROOT / file).read_text()), test


def test_every_alert_has_a_runbook() -> None:
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    rules = [rule for group in alerts["groups"] for rule in group["rules"] if "alert" in rule]
    page = OPERATIONS.split("## Alerts")[1]

    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/OPERATIONS.md#{rule['alert'].lower()}"


def test_settings_page_names_every_secret_that_may_be_in_a_file() -> None:
    page = (ROOT / "docs/SETTINGS.md").read_text(encoding="utf-8")

    named = set(re.findall(r"`IMGPROC_([A-Z_]+)_FILE`", page)) - {"FETCH_HOSTS"}

    assert named == {name.upper() for name in secrets_in_files()}


def secrets_in_files() -> list[str]:
    return [name for name, field in Settings.model_fields.items() if FROM_FILE in field.metadata]


def test_operations_page_names_existing_settings_files_and_mutations() -> None:
    """Everything in a code span that looks like a setting, a file or a mutation exists."""
    settings = {*Settings.model_fields, *(f"{name}_file" for name in secrets_in_files())}
    named = set(re.findall(r"`([^`\n]+)`", OPERATIONS))
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    assert schema.mutation_type is not None

    for name in named:
        if setting := re.match(r"IMGPROC_([A-Z_]+)", name):
            assert setting[1].lower() in settings, name
        elif re.match(r"(tests|deploy|docs)/", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"(cancel|retry|resend|delete)[A-Z]\w+", name):
            assert name in schema.mutation_type.fields, name


def heading_anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


LLMS = ROOT / "docs" / "llms.txt"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md"), LLMS])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)", text):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor:
            assert anchor in heading_anchors(linked.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_list_for_machine_readers_names_every_document() -> None:
    listed = {(LLMS.parent / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", LLMS.read_text(encoding="utf-8"))}

    assert listed >= {path.resolve() for path in (ROOT / "docs").glob("*.md")}


if __name__ == "__main__":
    for document, name, generate in GENERATED:
        path = ROOT / document
        text = path.read_text(encoding="utf-8")
        start, _, end = block(name).search(text).groups()  # type: ignore[union-attr]
        path.write_text(block(name).sub(lambda _: f"{start}{generate()}\n{end}", text), encoding="utf-8")  # noqa: B023
