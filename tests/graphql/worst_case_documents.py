"""The worst documents that were found, each as large as the limits let it be."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

from graphql import Lexer, Source, TokenKind, get_introspection_query, parse

from gql_imgproc.database.engine import Database
from gql_imgproc.enums import ProductStatus
from gql_imgproc.graphql.query_limits import (
    MAX_ALIASES,
    MAX_DIRECTIVES,
    MAX_DOCUMENT_CHARS,
    MAX_ERRORS,
    MAX_REPEATS,
    MAX_TOKENS,
)
from tests.graphql.client import Api
from tests.support.scenarios import given_request


def tokens(document: str) -> int:
    lexer, count = Lexer(Source(document)), 0
    while lexer.advance().kind is not TokenKind.EOF:
        count += 1
    return count


def filled(unit: Callable[[int], str] | str, head: str = "{ ", tail: str = " }", at_most: int = MAX_TOKENS) -> str:
    """As many units as the limits let in."""
    part = unit if callable(unit) else lambda _: unit
    count = min(
        at_most,
        (MAX_TOKENS - tokens(head + tail)) // tokens(part(0)),
        # The last has the longest number.
        (MAX_DOCUMENT_CHARS - len(head + tail)) // (len(part(at_most)) + 1),
    )
    return head + " ".join(part(n) for n in range(count)) + tail


def crossed(fragments: int) -> str:
    """Fragments that are compared with one another in pairs."""
    each = min(MAX_REPEATS // fragments, (MAX_TOKENS - 2 - 8 * fragments) // (fragments * 15))
    body = "requests(first: 1) { edges { node { id } } } " * each
    return (
        "{ "
        + " ".join(f"...f{n}" for n in range(fragments))
        + " } "
        + " ".join(f"fragment f{n} on Query {{ {body} }}" for n in range(fragments))
    )


OF_A_REQUEST = "query($i: ID!) { request(id: $i) { "
OF_A_TYPE = "fragment F on __Type { fields { name isDeprecated type { kind name } } }"

#: What takes long before anything is read; beside some, the milliseconds they took before there were limits.
BEFORE_READING = {
    # 9,000+ -> 30: each fault's line was looked for from the start.
    "faults on many lines": filled(lambda n: "\n" * (MAX_DOCUMENT_CHARS // 520) + f"u{n}"),
    # 1,170 -> 15: what may have been meant, and all of it told.
    "long unknown names": filled(lambda n: "maxImagesPerSecondAndMore" * 40 + str(n), OF_A_REQUEST, "}}"),
    "unknown names like known ones": filled(lambda n: f"outputBytez{n}", OF_A_REQUEST, " } }"),
    # 208 -> 32: each of a hundred faults printed the whole value.
    "unknown fields of an input": filled(
        lambda n: f"qualit{n}: 1",
        "mutation($f: Upload!) { uploadCsv(input: {file: $f, options: {",
        "}}) { __typename } }",
    ),
    "unknown types": filled(lambda n: f"... on Requestz{n} {{ id }}", at_most=MAX_REPEATS),
    "conflicting arguments": filled(lambda n: f"limits(x: {n})", at_most=MAX_REPEATS),
    # 200 -> 60: fields of one name are compared in pairs, and so is what is in them.
    "one field again and again": filled("requests(first: 1) { edges { node { id } } }", at_most=MAX_REPEATS),
    "one field in two fragments": crossed(2),
    "one field in five fragments": crossed(5),
    "two fields again and again": filled("limits { maxImages } requests(first: 1) { totalCount }", at_most=MAX_REPEATS),
    # 390 -> 130: lists of lists of the schema.
    "types under aliases": "{ __schema { "
    + " ".join(f"a{n}: types {{ ...F }}" for n in range(11))
    + " } } "
    + OF_A_TYPE,
    "a type under aliases": "{ "
    + " ".join(f'a{n}: __type(name: "Request") {{ ...F }}' for n in range(MAX_ALIASES))
    + " } "
    + OF_A_TYPE,
    "introspection": get_introspection_query(),
    "many fragments": "{ ...f0 } "
    + filled(lambda n: f"fragment f{n} on Query {{ __typename ...f{n + 1} }}", "", "", at_most=MAX_REPEATS),
    "nested inline fragments": "{ " + "... on Query { " * 190 + "__typename" + " }" * 190 + " }",
    "directives": filled("__typename @skip(if: true)", at_most=MAX_DIRECTIVES),
    "unused variables": filled(lambda n: f"$v{n}: [ImageFilter!] = [BLUR]", "query(", ") { limits { maxImages } }"),
    "a long text": '{ request(id: "' + "\\u0041" * 8_000 + '") { id } }',
    "a long number": "{ requests(first: " + "9" * 45_000 + ") { totalCount } }",
    "a long comment": "{ limits { maxImages } } #" + "x" * 49_000,
}

#: What documents that read are asked of: so many requests, each with so many products, images of one and warnings.
REQUESTS, PRODUCTS, IMAGES, WARNINGS = 100, 12, 10, 5


def given_all(database: Database) -> None:
    warning = {"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}
    for _ in range(REQUESTS):
        given_request(
            database,
            *[IMAGES] * PRODUCTS,
            webhook_url="https://hook.example/",
            options={"quality": 70, "crop": [1, 2, 3, 4], "filters": ["BLUR"]},
            warnings=[warning] * WARNINGS,
        )


def times(count: int, field: str) -> str:
    return " ".join(f"a{n}: {field}" for n in range(count))


IMAGE = """id inputUrl outputUrl status outcome attempts error { code message httpStatus } inputBytes outputBytes format
  width height"""
REQUEST = """id status priority sequence createdAt updatedAt startedAt completedAt estimatedCompletionAt csvFilename
  totalProducts processedProducts failedProducts totalImages processedImages failedImages cancelledImages keptImages
  progressPercent inputBytes outputBytes imagesPerSecond outputCsvUrl outputCsvExpiresAt failure { code message }
  options { quality scale maxWidth crop { x y width height } filters format keepMetadata }
  webhook { url status attempts lastHttpStatus nextAttemptAt log { at } }"""
WARNING = "warnings { row column code message }"
SEARCH = 'products(nameContains: "1", first: 30) { edges { node { id } } }'
WINDOWS = " ".join(
    f"p{n}: products(first: {size}, status: {status}) {{ totalCount }}"
    for n, (size, status) in enumerate(product(range(8), list(ProductStatus)[:5]))
)

#: What takes long because of what it reads and answers: as much as the cost of 5,000 lets in.
READING = {
    "requests": f"{{ requests(first: 97) {{ edges {{ cursor node {{ {REQUEST} }} }} totalCount }} }}",
    "products of requests": """{ requests(first: 100) { edges { node {
      products(first: 15) { edges { node { id } } } } } } }""",
    "images": f"{{ products(first: 85) {{ edges {{ node {{ images {{ {IMAGE} }} }} }} }} }}",
    "identifiers of images": """{ requests(first: 29) { edges { node {
      products(first: 10) { edges { node { images { id } } } } } } } }""",
    "images under aliases": f"{{ products(first: 34) {{ edges {{ node {{ {times(10, 'images { id }')} }} }} }} }}",
    "lists under aliases": f"{{ {times(36, 'products(first: 8) { edges { node { images { id } } } }')} }}",
    "addresses of sources": f"{{ products(first: 100) {{ edges {{ node {{ {times(23, 'inputImageUrls')} }} }} }} }}",
    "addresses of results": f"{{ products(first: 100) {{ edges {{ node {{ {times(7, 'outputImageUrls')} }} }} }} }}",
    "warnings": f"{{ requests(first: 100) {{ edges {{ node {{ {times(4, WARNING)} }} }} }} }}",
    "moments": f"{{ requests(first: 100) {{ edges {{ node {{ {times(47, 'createdAt')} }} }} }} }}",
    "options": f"{{ requests(first: 100) {{ edges {{ node {{ {times(15, 'options { crop { x } }')} }} }} }} }}",
    "windows of products": f"{{ requests(first: 20) {{ edges {{ node {{ {WINDOWS} }} }} }} }}",
    "searches": f"{{ {times(16, SEARCH)} }}",
    "changes": f"mutation($i: ID!) {{ {times(MAX_ALIASES, 'cancelRequest(input: { id: $i }) { __typename }')} }}",
}


#: What each of them may take: 0.2 s where the piece of work takes 10 ms, as on two cores of 2026 that are not shared.
#: Beside other tests it may be twice as much, since threads that wait for the interpreter's lock take CPU as well.
MAX_WORK, MAX_WORK_BESIDE_OTHERS = 20, 40
REFUSED = ("over the limit", "stands more than", "too large", "more than 1000 tokens")


@dataclass(frozen=True, slots=True)
class Took:
    """What the answer to a document took."""

    cpu_s: float
    #: CPU of a fixed piece of work just before and after it.
    work_s: float

    @property
    def in_work(self) -> float:
        return self.cpu_s / self.work_s


@contextmanager
def settled() -> Iterator[None]:
    """As in the API's process, the collector leaves alone what was loaded before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def work() -> float:
    """CPU of a fixed piece of work of the same kind, many small objects: what the machine is worth at this moment."""
    began = time.process_time()
    for _ in range(12):
        parse(get_introspection_query())
    return time.process_time() - began


async def taken(api: Api, document: str) -> Took:
    before = work()
    began = time.process_time()
    response = await api.http.post("/graphql", json={"query": document, "variables": {"i": "req_" + "0" * 32}})
    cpu_s = time.process_time() - began
    told = [error["message"] for error in response.json().get("errors", ())]
    assert len(told) <= MAX_ERRORS + 1
    # A refusal would be cheap.
    assert not any(sign in text for text in told for sign in REFUSED), told
    assert document not in READING.values() or told == [], told
    return Took(cpu_s, (before + work()) / 2)
