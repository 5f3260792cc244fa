"""Checks of the web page that need no node: its operations are valid, and its scripts are small."""

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
#: Maximum size of the page's scripts after gzip, in bytes.
MAX_SCRIPT_BYTES = 40 * 1024


def test_page_operations_are_valid() -> None:
    schema = build_schema((ROOT / "schema.graphql").read_text())
    files = sorted((SOURCES / "api").glob("*.ts"))
    # One document, so that operations find the fragments of other files.
    texts = [text for file in files for text in re.findall(r"graphql\(\s*`([^`]+)`", file.read_text())]

    errors = validate(schema, parse("\n".join(texts)))

    assert len(texts) >= 10
    assert [error.message for error in errors] == []


def test_page_scripts_are_small() -> None:
    if not (STATIC / "index.html").is_file():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("The built page is missing")
    page = (STATIC / "index.html").read_text()
    scripts = re.findall(r'(?:src|href)="/static/(assets/[^"]+\.js)"', page)
    # Scripts can load other scripts later.
    pending, loaded = set(scripts), set[str]()
    while pending:
        loaded.add(name := pending.pop())
        names = {f"assets/{other}" for other in re.findall(r"[\w-]+\.js", (STATIC / name).read_text())}
        pending |= {other for other in names if (STATIC / other).is_file()} - loaded

    total = sum(len(gzip.compress((STATIC / name).read_bytes())) for name in loaded)

    assert scripts
    assert total <= MAX_SCRIPT_BYTES
