"""The most expensive documents known, each as large as the limits allow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import product
from typing import Any

from graphql import Lexer, Source, TokenKind, get_introspection_query
from sqlalchemy import update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images
from gql_imgproc.enums import ProductStatus
from gql_imgproc.graphql.documents import MAX_DOCUMENT_CHARS, MAX_TOKENS
from gql_imgproc.graphql.query_limits import (
    MAX_ALIASES,
    MAX_DIRECTIVES,
    MAX_ERRORS,
    MAX_REPEATS,
)
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.repository.image_results import ImageResult
from tests.graphql.client import Api
from tests.support.api_keys import bearer, given_key
from tests.support.scenarios import DONE, FAILED, given_request


def count_tokens(document: str) -> int:
    lexer, count = Lexer(Source(document)), 0
    while lexer.advance().kind is not TokenKind.EOF:
        count += 1
    return count


def fill(unit: Callable[[int], str] | str, head: str = "{ ", tail: str = " }", at_most: int = MAX_TOKENS) -> str:
    """A document with as many units as the limits allow."""
    part = unit if callable(unit) else lambda _: unit
    count = min(
        at_most,
        (MAX_TOKENS - count_tokens(head + tail)) // count_tokens(part(0)),
        # The last unit has the longest number.
        (MAX_DOCUMENT_CHARS - len(head + tail)) // (len(part(at_most)) + 1),
    )
    return head + " ".join(part(n) for n in range(count)) + tail


def overlapping_fragments(fragments: int) -> str:
    """Fragments that validation compares in pairs."""
    each = min(MAX_REPEATS // fragments, (MAX_TOKENS - 2 - 8 * fragments) // (fragments * 15))
    body = "requests(first: 1) { edges { node { id } } } " * each
    return (
        "{ "
        + " ".join(f"...f{n}" for n in range(fragments))
        + " } "
        + " ".join(f"fragment f{n} on Query {{ {body} }}" for n in range(fragments))
    )


OF_A_REQUEST = "query($i: ID!) { request(id: $i) { "
#: All that introspection returns of a type. A selection of more levels of `ofType` returns no more.
NAME = "kind name description specifiedByURL isOneOf"
TYPE_REFERENCE = f"{NAME} ofType {{ {NAME} ofType {{ {NAME} ofType {{ {NAME} }} }} }}"
INPUT = f"name description defaultValue isDeprecated deprecationReason type {{ {TYPE_REFERENCE} }}"
FIELDS = f"""fragment F on __Type {{ fields(includeDeprecated: true) {{ name description isDeprecated deprecationReason
  args {{ {INPUT} }} type {{ {TYPE_REFERENCE} }} }} }}"""
TYPE = f"""fragment T on __Type {{ {NAME} ...F inputFields {{ {INPUT} }} interfaces {{ {TYPE_REFERENCE} }}
  enumValues {{ name description isDeprecated deprecationReason }} possibleTypes {{ {TYPE_REFERENCE} }} }} {FIELDS}"""

#: Expensive before anything is read. Comments: milliseconds without the limit -> with it.
BEFORE_READING = {
    # 9,000+ -> 30: the lines up to each error are counted.
    "errors on many lines": fill(lambda n: "\n" * (MAX_DOCUMENT_CHARS // 520) + f"u{n}"),
    # 1,170 -> 15: suggestions are computed and printed.
    "long unknown names": fill(lambda n: "maxImagesPerSecondAndMore" * 40 + str(n), OF_A_REQUEST, "}}"),
    "unknown names similar to known ones": fill(lambda n: f"outputBytez{n}", OF_A_REQUEST, " } }"),
    # 208 -> 32: each of a hundred errors prints the whole value.
    "unknown fields of an input": fill(
        lambda n: f"qualit{n}: 1",
        "mutation($f: Upload!) { uploadCsv(input: {file: $f, options: {",
        "}}) { __typename } }",
    ),
    "unknown types": fill(lambda n: f"... on Requestz{n} {{ id }}", at_most=MAX_REPEATS),
    "conflicting arguments": fill(lambda n: f"limits(x: {n})", at_most=MAX_REPEATS),
    # 200 -> 60: fields of one name and their selections are compared in pairs.
    "one repeated field": fill("requests(first: 1) { edges { node { id } } }", at_most=MAX_REPEATS),
    "one field in two fragments": overlapping_fragments(2),
    "one field in five fragments": overlapping_fragments(5),
    "two repeated fields": fill("limits { maxImages } requests(first: 1) { totalCount }", at_most=MAX_REPEATS),
    # Lists of types, repeated or nested.
    "types under aliases": "{ __schema { types { ...T } a: types { ...T } } } " + TYPE,
    "types in types": "{ __schema { types { fields { type { ofType { ...F } } } } } } " + FIELDS,
    "a type under aliases": '{ a: __type(name: "Request") { ...T } b: __type(name: "Request") { ...T } } ' + TYPE,
    "introspection": get_introspection_query(),
    "many fragments": "{ ...f0 } "
    + fill(lambda n: f"fragment f{n} on Query {{ __typename ...f{n + 1} }}", "", "", at_most=MAX_REPEATS),
    "nested inline fragments": "{ " + "... on Query { " * 190 + "__typename" + " }" * 190 + " }",
    "directives": fill("__typename @skip(if: true)", at_most=MAX_DIRECTIVES),
    "unused variables": fill(lambda n: f"$v{n}: [ImageFilter!] = [BLUR]", "query(", ") { limits { maxImages } }"),
    "a long text": '{ request(id: "' + "\\u0041" * 8_000 + '") { id } }',
    "a long number": "{ requests(first: " + "9" * 45_000 + ") { totalCount } }",
    "a long comment": "{ limits { maxImages } } #" + "x" * 49_000,
}

#: Rows to read: requests, products per request, images per product, warnings per request.
REQUESTS, PRODUCTS, IMAGES, WARNINGS = 100, 12, 10, 5
#: Images of a product of the two large requests, the most that a CSV may have.
MAX_IMAGES = 100


def given_rows(api: Api) -> dict[str, Any]:
    """Creates rows, and an API key, for which URLs are signed; returns the variables of the documents."""
    database = api.runtime.db
    key, _ = given_key(database)
    api.http.headers.update(bearer(key))
    # The large requests lie in the middle: no page of other documents has their images.
    older = [given_typical_request(database) for _ in range(REQUESTS // 2)]
    stored, failed = given_large_request(database, DONE), given_large_request(database, FAILED)
    newer = [given_typical_request(database) for _ in range(REQUESTS // 2)]
    return {"i": "req_" + "0" * 32, "ids": older + newer, "stored": stored, "failed": failed}


def given_typical_request(database: Database) -> str:
    """The global ID of a request with everything that a request can have."""
    warning = {"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}
    request_id = given_request(
        database,
        *[IMAGES] * PRODUCTS,
        webhook_url="https://hook.example/",
        options={"quality": 70, "crop": [1, 2, 3, 4], "filters": ["BLUR"]},
        warnings=[warning] * WARNINGS,
    )
    return encode_global_id(IdPrefix.REQUEST, request_id)


def given_large_request(database: Database, result: ImageResult) -> str:
    """The global ID of a request whose images all have this result."""
    request_id = given_request(database, *[MAX_IMAGES] * PRODUCTS)
    values = {name: value for name, value in asdict(result).items() if name in images.c}
    database.write_now(
        lambda connection: connection.execute(update(images).where(images.c.request_id == request_id).values(values))
    )
    return encode_global_id(IdPrefix.REQUEST, request_id)


def aliases(count: int, field: str) -> str:
    return " ".join(f"a{n}: {field}" for n in range(count))


IMAGE = """id inputUrl outputUrl status outcome attempts error { code message httpStatus } inputBytes outputBytes format
  width height"""
REQUEST = """id status priority sequence createdAt updatedAt startedAt completedAt estimatedCompletionAt csvFilename
  totalProducts processedProducts failedProducts totalImages processedImages failedImages cancelledImages keptImages
  progressPercent inputBytes outputBytes imagesPerSecond outputCsvUrl archiveUrl outputCsvExpiresAt
  failure { code message }
  options { quality scale maxWidth crop { x y width height } filters format keepMetadata fileName }
  webhook { url status attempts lastHttpStatus nextAttemptAt log { at } }"""
WARNING = "warnings { row column code message }"
SEARCH = 'products(nameContains: "1", first: 30) { edges { node { id } } }'
EMPTY_PAGE = "products(first: 0) { totalCount }"
WINDOWS = " ".join(
    f"p{n}: products(first: {size}, status: {status}) {{ totalCount }}"
    for n, (size, status) in enumerate(product(range(8), list(ProductStatus)[:5]))
)


def of_large_products(request: str, size: int, fields: str) -> str:
    """A page of products with 100 images each."""
    return (
        f"query(${request}: ID!) {{ request(id: ${request}) {{ "
        f"products(first: {size}) {{ edges {{ node {{ {fields} }} }} }} }} }}"
    )


#: Expensive because of what they read and return: as much as a cost of 5,000 allows.
READING = {
    "requests": f"{{ requests(first: 94) {{ edges {{ cursor node {{ {REQUEST} }} }} totalCount }} }}",
    "products of requests": """{ requests(first: 100) { edges { node {
      products(first: 15) { edges { node { id } } } } } } }""",
    "images": f"{{ products(first: 100) {{ edges {{ node {{ images {{ {IMAGE} }} }} }} }} }}",
    "identifiers of images": """{ requests(first: 29) { edges { node {
      products(first: 10) { edges { node { images { id } } } } } } } }""",
    "images under aliases": f"{{ products(first: 34) {{ edges {{ node {{ {aliases(10, 'images { id }')} }} }} }} }}",
    "lists under aliases": f"{{ {aliases(36, 'products(first: 8) { edges { node { images { id } } } }')} }}",
    "URLs of sources": f"{{ products(first: 100) {{ edges {{ node {{ {aliases(23, 'inputImageUrls')} }} }} }} }}",
    "URLs of results": f"{{ products(first: 100) {{ edges {{ node {{ {aliases(7, 'outputImageUrls')} }} }} }} }}",
    "URLs of sources under aliases": of_large_products("stored", 2, f"images {{ {aliases(43, 'sourceUrl')} }}"),
    "a field of images under aliases": of_large_products("stored", 3, f"images {{ {aliases(49, 'outcome')} }}"),
    "errors under aliases": of_large_products("failed", 3, f"images {{ {aliases(36, 'error { code }')} }}"),
    "all of large products": of_large_products("stored", 12, f"inputImageUrls outputImageUrls images {{ {IMAGE} }}"),
    "large lists under aliases": of_large_products("stored", 10, aliases(4, "images { id }")),
    "large lists of URLs under aliases": of_large_products("stored", 10, aliases(9, "outputImageUrls")),
    "nodes": f"query($ids: [ID!]!) {{ {aliases(4, 'nodes(ids: $ids) { id }')} }}",
    "warnings": f"{{ requests(first: 99) {{ edges {{ node {{ {aliases(4, WARNING)} }} }} }} }}",
    "timestamps": f"{{ requests(first: 100) {{ edges {{ node {{ {aliases(47, 'createdAt')} }} }} }} }}",
    "options": f"{{ requests(first: 100) {{ edges {{ node {{ {aliases(15, 'options { crop { x } }')} }} }} }} }}",
    "windows of products": f"{{ requests(first: 19) {{ edges {{ node {{ {WINDOWS} }} }} }} }}",
    "empty pages": f"{{ requests(first: 20) {{ edges {{ node {{ {aliases(48, EMPTY_PAGE)} }} }} }} }}",
    "searches": f"{{ {aliases(16, SEARCH)} }}",
    "mutations": f"mutation($i: ID!) {{ {aliases(MAX_ALIASES, 'cancelRequest(input: { id: $i }) { __typename }')} }}",
}


REFUSALS = ("but the limit is", "occurs more than", "too large", "more than 1000 tokens")


async def execute(api: Api, document: str, variables: dict[str, Any]) -> None:
    """Executes one of these documents, and asserts that no limit refuses it: a refusal would be cheap."""
    response = await api.http.post("/graphql", json={"query": document, "variables": variables})
    messages = [error["message"] for error in response.json().get("errors", ())]
    assert len(messages) <= MAX_ERRORS + 1
    assert not any(refusal in message for message in messages for refusal in REFUSALS), messages
    assert document not in READING.values() or messages == [], messages
