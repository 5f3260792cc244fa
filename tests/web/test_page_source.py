"""What can be said of the page without node: its operations fit the schema, and it is small."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from gql_imgproc.web.pages import STATIC

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "frontend" / "src"
#: What the page may cost before it works, in bytes.
MAX_SCRIPT_BYTES = 40 * 1024


def test_every_operation_of_the_page_fits_the_schema() -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text())
    files = sorted((SOURCES / "api").glob("*.ts"))
    # All in one document, so that each finds the fragments that it uses.
    texts = [text for file in files for text in re.findall(r"graphql\(\s*`([^`]+)`", file.read_text())]

    faults = validate(schema, parse("\n".join(texts)))

    assert len(texts) >= 10
    assert [fault.message for fault in faults] == []


def test_the_page_is_small() -> None:
    if not (STATIC / "index.html").is_file():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("The built page is missing")
    page = (STATIC / "index.html").read_text()
    scripts = re.findall(r'(?:src|href)="/static/(assets/[^"]+\.js)"', page)
    # A script may load another one later.
    waiting, loaded = set(scripts), set[str]()
    while waiting:
        loaded.add(name := waiting.pop())
        mentioned = {f"assets/{other}" for other in re.findall(r"[\w-]+\.js", (STATIC / name).read_text())}
        waiting |= {other for other in mentioned if (STATIC / other).is_file()} - loaded

    total = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in loaded)

    assert scripts
    assert total <= MAX_SCRIPT_BYTES
