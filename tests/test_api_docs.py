"""docs/API.md: its examples run unchanged, and its tables match the code."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import httpx
import pytest
from graphql import GraphQLEnumType, GraphQLObjectType, GraphQLUnionType, build_schema, get_named_type

import gql_imgproc.client
from gql_imgproc.client import Client, RequestStatus
from gql_imgproc.graphql.errors import Code
from gql_imgproc.graphql.request_body import MAX_JSON_BYTES
from gql_imgproc.graphql.types.connection import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from tests.acceptance.conftest import Service
from tests.support.npm import CLIENTS, SCHEMA_TOOLS, install_packages, skip_or_fail

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
SCHEMA = build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))
#: Timeout of one example, in seconds.
EXAMPLE_TIMEOUT_S = 60

#: Examples by the name in the comment before them.
EXAMPLES: dict[str, str] = dict(
    re.findall(r"^<!-- (?:run|compile): (\S+) -->\n```\w+\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
)
STATUSES = ["PENDING", "PROCESSING", "COMPLETED"]


def test_every_example_is_tested() -> None:
    assert len(re.findall(r"^```(?!graphql\n)\w", DOCUMENT, re.MULTILINE)) == len(EXAMPLES)
    shell = {"upload.sh", "watch.sh", "ask.sh", "limits.sh"}
    assert set(EXAMPLES) == shell | {
        *("apollo.mjs", "urql.mjs", "socket.mjs", "products.py", "Products.jsx", "RequestPage.jsx"),
        *("blocking.py", "asynchronous.py"),
    }


# The examples


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A CSV with three image URLs, and a host that serves them."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "card.gif").write_bytes(sample_images.render_sample("gift-card.gif"))
    with serve_images(folder) as port:
        rows = [f"{number},Card {number},http://127.0.0.1:{port}/card.gif" for number in (1, 2, 3)]
        path = folder / "products.csv"
        path.write_text("\n".join(["S. No.,Product Name,Input Image Urls", *rows]), encoding="utf-8")
        yield path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}
    service = Service(tmp_path_factory.mktemp("service"), ("--workers", "1"), settings)
    yield service
    service.close()


@pytest.fixture
def request_id(service: Service, csv: Path) -> str:
    """The ID of a new request."""
    query = (
        "mutation ($input: UploadCsvInput!) { uploadCsv(input: $input) { ... on UploadCsvSuccess { request { id } } } }"
    )
    response = httpx.post(
        f"{service.url}/graphql",
        headers={"GraphQL-Preflight": "1"},
        data={
            "operations": json.dumps({"query": query, "variables": {"input": {"file": None}}}),
            "map": '{"0": ["variables.input.file"]}',
        },
        files={"0": ("products.csv", csv.read_bytes())},
    )
    return str(response.json()["data"]["uploadCsv"]["request"]["id"])


Run = Callable[..., str]


@pytest.fixture
def run(service: Service, csv: Path, tmp_path: Path) -> Run:
    """Runs an example in a folder with a `products.csv`, and returns its output."""
    shutil.copy(csv, tmp_path)

    def run(name: str, command: str, **environment: str) -> str:
        host = service.url.removeprefix("http://")
        example = tmp_path / name
        example.write_text(EXAMPLES[name].replace("127.0.0.1:8000", host), encoding="utf-8")
        process = subprocess.run(
            [command, name],
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=EXAMPLE_TIMEOUT_S,
            check=False,
        )
        assert process.returncode == 0, process.stderr + process.stdout
        return process.stdout

    return run


def assert_progress(statuses: list[str]) -> None:
    assert statuses[-1] == "COMPLETED"
    assert statuses == sorted(statuses, key=STATUSES.index)


@pytest.fixture
def curl() -> None:
    if not shutil.which("curl"):
        skip_or_fail("curl")


@pytest.mark.usefixtures("curl")
def test_curl_uploads(run: Run) -> None:
    result = json.loads(run("upload.sh", "sh"))["data"]["uploadCsv"]

    assert result["__typename"] == "UploadCsvSuccess"
    assert result["request"]["totalImages"] == 3


@pytest.mark.usefixtures("curl")
def test_curl_subscribes_and_polls(run: Run, service: Service, request_id: str) -> None:
    stream = run("watch.sh", "sh", ID=request_id)
    polled = json.loads(run("ask.sh", "sh", ID=request_id))

    events = [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: {")]
    states = [event["data"]["requestProgress"] for event in events]
    assert_progress([state["status"] for state in states])
    assert [state["sequence"] for state in states] == sorted({state["sequence"] for state in states})
    assert polled["data"]["request"] == {
        "status": "COMPLETED",
        "progressPercent": 100,
        "outputCsvUrl": f"{service.url}/api/download/{request_id}",
    }


@pytest.mark.usefixtures("curl")
def test_curl_reads_the_limits(run: Run) -> None:
    assert json.loads(run("limits.sh", "sh"))["data"]["limits"] == {
        "maxUploadBytes": 20 * 1024 * 1024,
        "maxProducts": 100_000,
        "maxImages": 500_000,
        "maxPageSize": 100,
        "maxQueryCost": 5_000,
        "maxDepth": 20,
        "maxAliases": 50,
        "maxDirectives": 50,
        "maxTokens": 1_000,
    }


@pytest.mark.parametrize("name", ["apollo.mjs", "urql.mjs", "socket.mjs"])
def test_javascript_clients_subscribe(run: Run, request_id: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "node_modules").symlink_to(install_packages(CLIENTS))

    assert_progress(run(name, "node", ID=request_id).split())


def test_python_uploads_subscribes_and_pages(run: Run, service: Service) -> None:
    lines = run("products.py", sys.executable).splitlines()

    assert_progress([line for line in lines if line in STATUSES])
    products = [line.split() for line in lines if line not in STATUSES]
    assert [number for number, _ in products] == ["1", "2", "3"]
    assert all(url.startswith(f"{service.url}/api/image/") for _, url in products)


def test_client_uploads_watches_and_downloads(run: Run, tmp_path: Path) -> None:
    lines = run("blocking.py", sys.executable).splitlines()

    assert_progress([line.split()[0] for line in lines])
    assert lines[-1] == "COMPLETED 100.0"
    assert len((tmp_path / "products-output.csv").read_text(encoding="utf-8").splitlines()) == 4


def test_client_retries_failed_images(run: Run, service: Service, csv: Path) -> None:
    with Client(service.url) as client:
        file = csv.read_bytes().replace(b"card.gif", b"missing.gif", 1)
        *_, failed = client.watch(client.upload(io.BytesIO(file)).id)
        run("asynchronous.py", sys.executable)
        *_, retried = client.watch(failed.id)

    assert failed.status is retried.status is RequestStatus.COMPLETED_WITH_ERRORS
    assert retried.sequence > failed.sequence


def test_docstring_of_the_client_has_the_examples() -> None:
    docstring = inspect.cleandoc(gql_imgproc.client.__doc__ or "")

    for name in ("blocking.py", "asynchronous.py"):
        assert indent(EXAMPLES[name], "    ") in f"{docstring}\n"


def test_relay_compiles(tmp_path: Path) -> None:
    compiler = install_packages(SCHEMA_TOOLS) / "relay-compiler" / "cli.js"
    for name in ("Products.jsx", "RequestPage.jsx"):
        (tmp_path / name).write_text(EXAMPLES[name], encoding="utf-8")
    shutil.copy(ROOT / "schema.graphql", tmp_path)
    config = {"src": ".", "language": "javascript", "schema": "schema.graphql", "artifactDirectory": "generated"}
    (tmp_path / "relay.config.json").write_text(json.dumps(config))
    (tmp_path / "generated").mkdir()

    process = subprocess.run(
        ["node", str(compiler), "relay.config.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=EXAMPLE_TIMEOUT_S,
        check=False,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    assert sorted(path.name for path in (tmp_path / "generated").iterdir()) == [
        "ProductsPaginationQuery.graphql.js",
        "Products_request.graphql.js",
        "RequestPageQuery.graphql.js",
        "RequestPageSubscription.graphql.js",
    ]


# The tables


def between(opening: str, closing: str) -> str:
    found = re.search(rf"^<!-- {opening}.*?-->\n(.*?)^<!-- /{closing} -->$", DOCUMENT, re.DOTALL | re.MULTILINE)
    assert found is not None, opening
    return found[1].strip()


def table(*rows: tuple[str, ...]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *body))


def results_table() -> str:
    """The result types of each mutation; each error with the fields that other errors lack."""
    mutations = SCHEMA.mutation_type
    assert mutations is not None
    rows = []
    for name, field in mutations.fields.items():
        union = get_named_type(field.type)
        assert isinstance(union, GraphQLUnionType)
        success, *errors = union.types
        rows.append((f"`{name}`", f"`{success.name}`", "<br>".join(describe_error(error) for error in errors)))
    return table(("mutation", "success", "errors"), *rows)


def describe_error(error: GraphQLObjectType) -> str:
    fields = [f"`{name}`" for name in error.fields if name not in ("message", "path")]
    return f"`{error.name}`{' with ' + ', '.join(fields) if fields else ''}: {error.description}"


def enum_table(name: str) -> str:
    enum = SCHEMA.get_type(name)
    assert isinstance(enum, GraphQLEnumType)
    rows = [(f"`{value}`", definition.description or "") for value, definition in enum.values.items()]
    return table(("code", "what it means"), *rows)


ENUMS = ("CsvIssueCode", "ImageErrorCode", "RequestFailureCode")


@pytest.mark.parametrize("name", ENUMS)
def test_every_enum_value_is_listed(name: str) -> None:
    assert between(f"enum {name}", "enum") == enum_table(name)


def test_every_mutation_result_is_listed() -> None:
    assert between("results", "results") == results_table()


def test_every_mutation_is_described() -> None:
    assert SCHEMA.mutation_type is not None
    described = re.findall(r"^\| `(\w+)`", DOCUMENT.split("## Change")[1].split("\n## ")[0], re.MULTILINE)
    assert {*described, "uploadCsv"} == set(SCHEMA.mutation_type.fields)


def test_every_upload_field_is_described() -> None:
    described = re.findall(r"^\| `(\w+)`", DOCUMENT.split("## Upload")[1].split("\n## ")[0], re.MULTILINE)
    upload: Any = SCHEMA.get_type("UploadCsvInput")
    assert {*described, "file"} == set(upload.fields)


def test_page_sizes_are_those_in_the_code() -> None:
    text = " ".join(DOCUMENT.split())
    assert f"at most {MAX_PAGE_SIZE} entries, {DEFAULT_PAGE_SIZE} by default" in text


def test_every_error_code_is_listed() -> None:
    codes = re.findall(r"^\| `(\w+)`", between("codes", "codes"), re.MULTILINE)
    assert sorted(codes) == sorted(Code)


def test_http_statuses_are_those_of_the_service(service: Service) -> None:
    url = f"{service.url}/graphql"
    limits, invalid = {"query": "{ limits { maxPageSize } }"}, {"query": "{ nonsense }"}
    graphql_json = {"Accept": "application/graphql-response+json"}
    mutation = 'mutation { cancelRequest(input: { id: "x" }) { __typename } }'
    with httpx.Client() as client:
        responses = [
            client.post(url, json=limits),
            client.post(url, json={"query": mutation}),
            client.post(url, json=invalid, headers={"Accept": "application/json"}),
            client.post(url, json=invalid, headers=graphql_json),
            client.post(url, json=[]),
            client.post(url, files={"0": ("products.csv", b"")}),
            client.get(url, params={"query": mutation}),
            client.put(url, json=limits),
            client.post(url, json={"query": "#" * MAX_JSON_BYTES}),
            client.post(url, content="query", headers={"Content-Type": "text/plain"}),
        ]
        misdirected = client.post(url, json=limits, headers={"Host": "shop.example"})

    assert [response.status_code for response in responses] == [200, 200, 200, 400, 400, 400, 405, 405, 413, 415]
    listed = re.findall(r"^\| (\d+) ", between("statuses", "statuses"), re.MULTILINE)
    assert sorted({response.status_code for response in [*responses, misdirected]}) == [
        int(status) for status in listed
    ]
    assert {response.headers["allow"] for response in responses if response.status_code == 405} == {"POST", "GET, POST"}
    codes = [error["extensions"]["code"] for response in responses for error in response.json().get("errors", [])]
    assert set(codes) == {Code.VALIDATION_FAILED, Code.BAD_REQUEST, Code.PAYLOAD_TOO_LARGE}


if __name__ == "__main__":
    sys.stdout.write("\n\n".join([results_table(), *(f"{name}\n{enum_table(name)}" for name in ENUMS)]) + "\n")
