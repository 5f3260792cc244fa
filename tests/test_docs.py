"""Documents that list things list what the code has."""

from __future__ import annotations

import asyncio
import dataclasses
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
import yaml
from graphql import build_schema, parse, validate
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase
from pydantic import ByteSize

from gql_imgproc import metrics
from gql_imgproc.cli.serve import api, up, worker
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.graphql.http import MAX_OPERATIONS_PER_SOCKET, SOCKET_INIT_SECONDS
from gql_imgproc.graphql.multipart import MAX_FIELDS, MAX_FILES, MULTIPART_MARGIN_BYTES, OVERSIZE_FACTOR
from gql_imgproc.graphql.query_limits import MAX_ALIASES, MAX_DEPTH, MAX_TOKENS
from gql_imgproc.graphql.request_body import MAX_JSON_BYTES
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE
from gql_imgproc.imaging.compress import ImageLimits
from gql_imgproc.net.address_policy import MAX_URL_CHARS
from gql_imgproc.net.fetch_errors import FetchErrorKind
from gql_imgproc.net.http_client import MAX_IPS_TRIED
from gql_imgproc.net.image_fetcher import FetchLimits
from gql_imgproc.requests.limits import csv_limits, image_limits
from gql_imgproc.settings import MiB, Settings
from gql_imgproc.web.http_limits import (
    ANSWER,
    BODY,
    HEAD,
    LEAST_BYTES_PER_SECOND,
    MAX_CONNECTIONS,
    MAX_HEAD_BYTES,
    MAX_PIPELINED,
)
from gql_imgproc.web.server import WEBSOCKET_MESSAGE_BYTES
from gql_imgproc.webhooks.client import MAX_RESPONSE_BYTES
from tests.graphql.client import served

ROOT = Path(__file__).parents[1]
SECURITY = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs/OPERATIONS.md").read_text(encoding="utf-8")


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
        f"| {row.meaning} | `{row.code.value}` | {'yes' if row.retryable else 'no'} |"
        for row in (fault.value for fault in FetchErrorKind)
    ]
    return "\n".join(["| what came of it | error code | tried again |", "| --- | --- | --- |", *rows])


def test_the_reliability_page_has_every_way_in_which_a_fetch_fails() -> None:
    page = (ROOT / "docs/RELIABILITY.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- faults.*?-->\n(.*?)\n?<!-- /faults -->", page, re.DOTALL)
    assert table is not None
    assert table[1] == faults_table()


def metrics_table() -> str:
    rows = []
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            suffix = "_total" if isinstance(metric, Counter) else "_info" if isinstance(metric, Info) else ""
            labels = ("version",) if isinstance(metric, Info) else metric._labelnames
            rows.append((f"{metric._name}{suffix}", metric._type, labels, "process", metric._documentation))
    for figure in metrics.SERVICE_METRICS:
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


@pytest.mark.parametrize("name", ["metrics", "alerts"])
def test_the_observability_page_has_every_figure_and_every_alert(name: str) -> None:
    page = (ROOT / "docs/OBSERVABILITY.md").read_text(encoding="utf-8")
    table = re.search(rf"<!-- {name}:.*?-->\n(.*?)\n?<!-- /{name} -->", page, re.DOTALL)
    assert table is not None
    assert table[1] == {"metrics": metrics_table, "alerts": alerts_table}[name]()


def limits_table() -> str:
    """What strangers may send and how much of it: settings with their names, constants with their places."""
    compression, manifest = ImageLimits(), csv_limits(Settings(_env_file=None))
    (redirects,) = (field.default for field in dataclasses.fields(FetchLimits) if field.name == "max_redirects")
    in_settings = [
        (field.description or "", shown(field.default), f"`IMGPROC_{name.upper()}`")
        for name, field in Settings.model_fields.items()
        if name.startswith(("max_", "fetch_", "worker_memory", "webhook_timeout"))
    ]
    in_code = [
        ("Largest JSON body, and largest field of a multipart one beside its file, in bytes.", MAX_JSON_BYTES),
        ("All of a multipart body beside its file, in bytes.", MULTIPART_MARGIN_BYTES),
        ("A multipart body of more than so many times the largest file is refused unread.", OVERSIZE_FACTOR),
        ("Files of a multipart body.", MAX_FILES),
        ("Fields of a multipart body.", MAX_FIELDS),
        ("Head of a request, its target included, in bytes.", MAX_HEAD_BYTES),
        ("The head of a request has come after so many seconds.", int(HEAD.seconds)),
        ("A body and an answer move at so many bytes a second.", LEAST_BYTES_PER_SECOND),
        ("Spans over which that is measured, in seconds: of a body.", int(BODY.seconds)),
        ("The same of an answer that is read, over HTTP or a WebSocket.", int(ANSWER.seconds)),
        ("Connections of one API process; three quarters of its descriptors, if that is less.", MAX_CONNECTIONS),
        ("Requests on one connection that wait for earlier answers.", MAX_PIPELINED),
        ("Largest message over a WebSocket, in bytes.", WEBSOCKET_MESSAGE_BYTES),
        ("A new socket without its first message is closed after so many seconds.", SOCKET_INIT_SECONDS),
        ("Operations under way on one socket.", MAX_OPERATIONS_PER_SOCKET),
        ("Tokens of a GraphQL document.", MAX_TOKENS),
        ("Fields within fields.", MAX_DEPTH),
        ("Aliases of an operation.", MAX_ALIASES),
        ("Largest page of a connection.", MAX_PAGE_SIZE),
        ("Longest address, in characters.", MAX_URL_CHARS),
        ("Pictures of one product.", manifest.max_images_per_product),
        ("Problems of a CSV file that are told; all are counted.", manifest.max_issues),
        ("Longest row of a CSV file, in characters.", manifest.longest_row_chars),
        ("Longest product name, in characters.", manifest.max_name_chars),
        ("Redirects that are followed.", redirects),
        ("Addresses of one host that are tried.", MAX_IPS_TRIED),
        (
            "Pixels of all frames of a picture together, at the default of `IMGPROC_MAX_IMAGE_PIXELS`.",
            compression.max_total_pixels,
        ),
        ("Frames of an animation, pages of a TIFF.", compression.max_frames),
        ("Scans of a JPEG.", compression.max_jpeg_scans),
        ("What is read of a webhook receiver's answer, in bytes.", MAX_RESPONSE_BYTES),
    ]
    rows = [*in_settings, *((meaning, f"{value:,}", "fixed") for meaning, value in in_code)]
    return "\n".join(
        ["| limit | default | set by |", "| --- | --- | --- |", *(f"| {' | '.join(row)} |" for row in rows)]
    )


def test_the_security_page_has_the_limits_in_force() -> None:
    table = re.search(r"<!-- limits.*?-->\n(.*?)\n?<!-- /limits -->", SECURITY, re.DOTALL)
    assert table is not None
    assert table[1] == limits_table()
    # The page tells the limits that a service applies by default.
    settings = Settings(_env_file=None)
    assert image_limits(settings).max_total_pixels == ImageLimits().max_total_pixels


def test_every_threat_names_tests_that_there_are() -> None:
    threats = SECURITY.split("## Threats")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?!threat|---)([^|]*)\|[^|]*\|(.*)\|$", threats, re.MULTILINE)
    assert len(rows) > 20

    for threat, shown_by in rows:
        assert_tests_exist(threat, shown_by)


def test_the_security_page_prices_every_setting_that_opens_something() -> None:
    prices = SECURITY.split("its price")[1].split("\n## ")[0]
    named = {name.lower() for name in re.findall(r"`IMGPROC_([A-Z_]+)", prices)}

    assert named <= set(Settings.model_fields)
    assert "introspection" in named
    assert {name for name in Settings.model_fields if name.startswith(("fetch_", "max_"))} <= named | {
        "fetched_bytes_in_flight"
    }


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
        assert_tests_exist(promise, shown_by)


def assert_tests_exist(what: str, shown_by: str) -> None:
    named = re.findall(r"`(tests/[^`]*)`", shown_by)
    assert named, what
    for test in named:
        file, _, function = test.partition("::")
        assert re.search(rf"def {function}\(" if function else "def test_", (ROOT / file).read_text()), test


def test_every_alert_has_its_page_and_there_is_no_other() -> None:
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    rules = [rule for group in alerts["groups"] for rule in group["rules"] if "alert" in rule]
    page = OPERATIONS.split("## Alerts")[1]

    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/OPERATIONS.md#{rule['alert'].lower()}"


def test_the_operations_page_names_what_there_is() -> None:
    """Settings, commands, mutations and files; what is in a code span and looks like one of these is one."""
    named = set(re.findall(r"`([^`\n]+)`", OPERATIONS))
    schema = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
    assert schema.mutation_type is not None

    for name in named:
        if setting := re.match(r"IMGPROC_([A-Z_]+)", name):
            assert setting[1].lower() in Settings.model_fields, name
        elif re.match(r"(tests|deploy|docs)/", name):
            assert (ROOT / name).exists(), name
        elif re.fullmatch(r"(cancel|retry|resend|delete)[A-Z]\w+", name):
            assert name in schema.mutation_type.fields, name


@pytest.mark.parametrize(
    "document", sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


if __name__ == "__main__":
    tables = {
        "settings": settings_table,
        "faults": faults_table,
        "limits": limits_table,
        "metrics": metrics_table,
        "alerts": alerts_table,
    }
    sys.stdout.write("\n".join(tables[name]() + "\n" for name in sys.argv[1:] or tables))
