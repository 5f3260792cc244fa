"""Nothing of one tenant reaches another: every root field and every route is tried with every identifier there is.

What is tried follows from the schema and from the routes of the application, so that what is added is tried as well;
what cannot be tried without knowing more fails, and wants a word here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    extend_schema,
    get_named_type,
    is_required_argument,
    is_required_input_field,
    parse,
)
from sqlalchemy import Connection, select
from starlette.routing import Mount, Route, WebSocketRoute

from gql_imgproc.access import audit_log
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.database.tables import images, metadata, products, requests
from gql_imgproc.enums import AuditAction, RequestStatus
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, output_key
from tests.graphql.client import served
from tests.graphql.live_server import connected
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, FAILED, claim_product, finish, given_request, record

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
#: So deep selections go: to the images of the products of a request in a page of requests.
DEPTH = 7
#: What a product is worth looking at twice for, and no more: the budget of an operation is shared among its fields.
PAGE = 2
#: Stands in whatever of the first tenant has a name, so that it is found wherever it turns up.
MARK = "mothers-secret-lamps"
#: In answers to equals: numbers of errors, times, and how long it took.
NOISE = re.compile(r'"(?:errorId|timestamp)": ?"[^"]*"|\b[0-9a-f]{8,12}\b(?=\W+in the log)')

#: Arguments that take an identifier, by the ends of their names. Whatever else is required has a value below.
IDENTIFIERS = re.compile(r"(?:^|[a-z])(?:id|Id|ID)s?$")
SCALARS = {"String": "nothing", "Int": 1, "Float": 0.5, "Boolean": True, "DateTime": "2030-01-01T00:00:00Z"}
SCALARS |= {"URL": "https://shop.example/hook", "ByteCount": 1}
"""Values of the scalars that have to be given."""


@dataclass(frozen=True)
class Belongings:
    """What a tenant has: the identifiers by which it can be asked for, and the paths of its pictures."""

    identifiers: list[str]
    pictures: list[str]


class Unfillable(Exception):
    """The schema has something that this test cannot try by itself."""


@dataclass(frozen=True)
class Try:
    """One operation with a place for an identifier."""

    kind: str
    name: str
    document: str
    #: Of variables, with the identifier in its place.
    variables: Callable[[str], dict[str, Any]]
    #: Whether there is a place for one.
    takes: bool


def selection(kind: GraphQLNamedType, depth: int = DEPTH) -> str:
    """Every field, and every field of every field, that needs no argument; lists a page of two."""
    match kind:
        case GraphQLScalarType() | GraphQLEnumType():
            return ""
        case GraphQLUnionType() | GraphQLInterfaceType():
            members = SCHEMA.get_possible_types(kind)
        case GraphQLObjectType():
            return f"{{ __typename {' '.join(_fields(kind, set(), depth))} }}"
        case _:
            raise Unfillable(f"{kind} is of a kind that cannot be selected")
    types: dict[str, set[str]] = {}
    for member in members:
        for name, found in member.fields.items():
            types.setdefault(name, set()).add(str(found.type))
    # Of one name and of several types, they need names of their own.
    clashes = {name for name, different in types.items() if len(different) > 1}
    parts = (f"... on {member.name} {{ {' '.join(_fields(member, clashes, depth))} }}" for member in members)
    return f"{{ __typename {' '.join(parts)} }}"


def _fields(kind: GraphQLObjectType, clashes: set[str], depth: int) -> Iterator[str]:
    for name, found in kind.fields.items():
        inner = get_named_type(found.type)
        if depth == 0 and not isinstance(inner, GraphQLScalarType | GraphQLEnumType):
            continue
        given = f"(first: {PAGE})" if "first" in found.args else ""
        if not given and any(is_required_argument(argument) for argument in found.args.values()):
            raise Unfillable(f"{kind}.{name} needs an argument")
        alias = f"{kind.name}_{name}: " if name in clashes else ""
        yield f"{alias}{name}{given} {selection(inner, depth - 1)}"


def tries(schema: GraphQLSchema) -> Iterator[Try]:
    """Every root field, once for each of its places for an identifier; once without, if it has none."""
    roots = {"query": schema.query_type, "mutation": schema.mutation_type, "subscription": schema.subscription_type}
    for kind, root in roots.items():
        for name, found in (root.fields if root else {}).items():
            yield from _tries(kind, name, found)


def _tries(kind: str, name: str, found: GraphQLField) -> Iterator[Try]:
    chosen = selection(get_named_type(found.type))
    places = [way for argument, of in found.args.items() for way in _places((argument,), of.type)]
    for place in places or [()]:

        def variables(identifier: str, place: tuple[str, ...] = place) -> dict[str, Any]:
            return {
                argument: _value(of.type, place[1:] if place[:1] == (argument,) else None, identifier)
                for argument, of in found.args.items()
                if _wanted(argument, of, place)
            }

        used = {argument: of for argument, of in found.args.items() if _wanted(argument, of, place)}
        heads = ", ".join(f"${argument}: {of.type}" for argument, of in used.items())
        hands = ", ".join(f"{argument}: ${argument}" for argument in used)
        variables("probe")
        yield Try(
            kind,
            ".".join((name, *place)),
            f"{kind}{f'({heads})' if heads else ''} {{ {name}{f'({hands})' if hands else ''} {chosen} }}",
            variables,
            bool(place),
        )


def _wanted(argument: str, of: GraphQLArgument, place: tuple[str, ...]) -> bool:
    return is_required_argument(of) or place[:1] == (argument,) or argument == "first"


def _places(way: tuple[str, ...], kind: Any) -> Iterator[tuple[str, ...]]:
    """Where in an argument an identifier goes: by its type, or by its name."""
    inner = get_named_type(kind)
    if isinstance(inner, GraphQLInputObjectType):
        for name, found in inner.fields.items():
            yield from _places((*way, name), found.type)
    elif inner.name == "ID" or IDENTIFIERS.search(way[-1]):
        yield way


def _value(kind: Any, place: tuple[str, ...] | None, identifier: str) -> Any:
    """A value of the type, with the identifier at the place, if that is in it."""
    if isinstance(kind, GraphQLNonNull):
        return _value(kind.of_type, place, identifier)
    if isinstance(kind, GraphQLList):
        return [_value(kind.of_type, place, identifier)]
    if place == () or getattr(kind, "name", "") == "ID":
        return identifier
    if isinstance(kind, GraphQLInputObjectType):
        return {
            name: _value(found.type, place[1:] if place and place[0] == name else None, identifier)
            for name, found in kind.fields.items()
            if is_required_input_field(found) or (place and place[0] == name)
        }
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if kind.name == "Upload":
        # Takes no identifier: what it makes is the caller's own.
        return None
    if kind.name not in SCALARS:
        raise Unfillable(f"there is no value for a {kind}")
    return SCALARS[kind.name]


def routes(app: Any) -> Iterator[Callable[[str], str]]:
    """Every route with a place in its path, as what puts something there."""
    for route in app.routes:
        match route:
            case WebSocketRoute() | Mount():
                # The API's own door, which is tried by its operations; files that are the same for everybody.
                assert route.path in ("/graphql", "/static"), route.path
            case Route() if not route.param_convertors:
                assert route.path in ("/", "/graphql", "/healthz", "/readyz", "/metrics"), route.path
            case Route():
                if len(route.param_convertors) != 1:
                    raise Unfillable(f"{route.path} has more places than one")
                yield lambda value, form=route.path: re.sub(r"\{[^}]*\}", lambda _: value, form)
            case _:
                raise Unfillable(f"{route} is no route that can be tried")


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    # However often it asks: how often it may is tested elsewhere.
    rates: dict[str, Any] = {name: "0" for name in Settings.model_fields if name.startswith("rate_")}
    return Settings(
        **rates,
        _env_file=None,
        database_url=sqlite_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        private_images=True,
        max_query_cost=1_000_000,
    )


#: Where what an identifier names is to be found, by its kind; a kind that is not here cannot be tried.
IDENTIFIED = {"req": "requests", "prd": "products", "img": "images", "key": "api_keys", "evt": "audit_events"}


async def given_belongings(runtime: Any, tenant_id: UUID) -> Belongings:
    """A request that has ended with all that there can be of one, and one under way; and keys."""
    database, storage = runtime.db, runtime.storage
    pictures = []
    for ends in (True, False):
        request_id = given_request(
            database,
            *(1, 1),
            tenant_id=tenant_id,
            csv_filename=f"{MARK}.csv",
            webhook_url=f"https://{MARK}.example/hook",
            warnings=[{"row": 1, "column": None, "code": "EMPTY_FILE", "message": MARK}],
        )
        state = record(database, claim_product(database, request_id), 0, DONE)
        if ends:
            state = record(database, claim_product(database, request_id), 0, FAILED)
            assert finish(database, state, RequestStatus.COMPLETED_WITH_ERRORS) is not None
            await storage.put(output_key(request_id, "output-1.csv"), MARK.encode(), "text/csv")
        name = f"{new_id().hex}-1.jpg"
        await storage.put(image_key(request_id, name), MARK.encode(), "image/jpeg")
        pictures.append(f"{request_id.hex}/{name}")
    given_key(database, tenant_id, name=MARK)
    somebody = system_caller(tenant_id, MARK)
    database.write_now(audit_log.record_event, somebody, AuditAction.REQUEST_ACCEPTED, MARK, file=MARK)
    identifiers = {
        kind: database.read_now(lambda connection, of=kind: ids_of(connection, tenant_id, of)) for kind in IdPrefix
    }
    found = [encode_global_id(kind, value) for kind, values in identifiers.items() for value in values]
    assert all(identifiers.values()), identifiers
    return Belongings(found, pictures)


def ids_of(connection: Connection, tenant_id: UUID, kind: IdPrefix) -> list[UUID]:
    if kind not in IDENTIFIED:
        raise Unfillable(f"there is nothing of the kind {kind} to be tried with")
    table = metadata.tables[IDENTIFIED[kind]]
    statement = select(table.c.id)
    if kind is IdPrefix.IMAGE:
        # They are their product's.
        statement = statement.join(products, products.c.id == images.c.product_id)
        table = products
    return list(connection.scalars(statement.where(table.c.tenant_id == tenant_id)))


def everything(connection: Connection) -> list[Any]:
    """All rows of the first tenant's, to see that nobody changed them."""
    return [
        sorted(map(str, connection.execute(select(*table.c.values()))))
        for name, table in metadata.tables.items()
        if name in ("requests", "products", "images", "webhook_deliveries")
    ]


class Doors:
    """A caller with a key, at each of the doors of the service."""

    def __init__(self, http: httpx.AsyncClient, host: str, key: str) -> None:
        self.http, self.host, self.headers = http, host, bearer(key)

    async def by_http(self, tried: Try, variables: dict[str, Any]) -> str:
        payload = {"query": tried.document, "variables": variables}
        return (await self.http.post("/graphql", json=payload, headers=self.headers)).text

    async def by_events(self, tried: Try, variables: dict[str, Any]) -> str:
        headers = self.headers | {"Accept": "text/event-stream"}
        payload = {"query": tried.document, "variables": variables}
        said = ""
        # The first event is enough; of what is let in unduly the last may never come.
        async with self.http.stream("POST", "/graphql", json=payload, headers=headers) as answer:
            async for text in answer.aiter_text():
                said += text
                if first := re.search(r"data:.*?(?:\r?\n){2}", said, re.DOTALL):
                    return first[0]
        return said

    async def by_socket(self, tried: Try, variables: dict[str, Any]) -> str:
        async with connected(self.host, begin=False) as socket:
            await socket.send(type="connection_init", payload=self.headers)
            assert await socket.receive() == {"type": "connection_ack"}
            await socket.subscribe("1", tried.document, **variables)
            return json.dumps(await socket.receive())

    async def by_route(self, path: str) -> str:
        answer = await self.http.get(path, headers=self.headers)
        kept = {name: value for name, value in answer.headers.items() if name not in ("date", "server")}
        return f"{answer.status_code} {sorted(kept.items())} {answer.text}"


def like(identifier: str) -> str:
    """One of the same kind that names nothing."""
    return encode_global_id(IdPrefix(identifier.split("_")[0]), new_id())


def bare(answer: str, identifier: str) -> str:
    """What was said, but for the identifier that was asked for and what differs from one answer to the next."""
    return NOISE.sub("", answer.replace(identifier, "IT"))


async def look_for_leaks(host: str, app: Any, *, tenant: str = "other") -> list[str]:
    """Where a caller of another tenant gets another answer than for what does not exist, or reads what it may not."""
    runtime = app.state.runtime
    mine = await given_belongings(runtime, given_tenant(runtime.db, "mothers"))
    before = runtime.db.read_now(everything)
    foreign, _ = given_key(runtime.db, given_tenant(runtime.db, tenant))
    leaks: list[str] = []
    async with httpx.AsyncClient(base_url=f"http://{host}", timeout=20) as http:
        doors = Doors(http, host, foreign)
        for tried in tries(SCHEMA):
            ways = [doors.by_http, doors.by_events, doors.by_socket]
            if tried.kind == "subscription":
                ways.remove(doors.by_http)
            nothing = {way: {} for way in ways}
            for identifier in mine.identifiers if tried.takes else ["none"]:
                for way in ways:
                    answer = await way(tried, tried.variables(identifier))
                    # What is not run says nothing.
                    if re.search("_VALIDATION_FAILED|_PARSE_FAILED|INTERNAL", answer):
                        raise Unfillable(f"{tried.name} is no operation that can be tried: {answer[:500]}")
                    if MARK in answer or any(other in answer for other in mine.identifiers if other != identifier):
                        leaks.append(f"{tried.name} shows {identifier}")
                    if not tried.takes:
                        continue
                    unknown = like(identifier)
                    kind = unknown.split("_")[0]
                    if kind not in nothing[way]:
                        nothing[way][kind] = bare(await way(tried, tried.variables(unknown)), unknown)
                    if bare(answer, identifier) != nothing[way][kind]:
                        leaks.append(f"{tried.name} tells of {identifier}")
        for path in routes(app):
            for value in (*mine.identifiers, *mine.pictures, *(text.split("_")[-1] for text in mine.identifiers)):
                unknown = re.sub(r"[0-9a-f]{32}", lambda _: new_id().hex, value)
                answer = await doors.by_route(path(value))
                if MARK in answer or bare(answer, value) != bare(await doors.by_route(path(unknown)), unknown):
                    leaks.append(f"{path('…')} tells of {value}")
    if runtime.db.read_now(everything) != before:
        leaks.append("something was changed")
    return leaks


async def test_nothing_of_a_tenant_reaches_another_by_any_door(settings: Settings) -> None:
    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        assert await look_for_leaks(host, app) == []


async def test_a_statement_that_forgets_its_tenant_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever is read or changed by the identifier of a request asks this.
    forgetful = lambda tenant_id, request_id: (requests.c.id == request_id,)  # noqa: E731 - it has no better name
    for module in [module for name, module in sys.modules.items() if name.startswith("gql_imgproc.db.")]:
        if hasattr(module, "own"):
            monkeypatch.setattr(module, "own", forgetful)

    async with served(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        leaks = await look_for_leaks(host, app)

    told = {leak.split(" ")[0] for leak in leaks}
    assert told >= {"request.id", "node.id", "requestProgress.id", "deleteRequest.input.id", "/api/download/…"}
    assert "something was changed" in leaks


@pytest.mark.parametrize(
    "added",
    [
        "extend type Query { shelf(id: ID!, place: Place!): String } scalar Place",
        "extend type Query { shelf(id: ID!): Shelf } type Shelf { book(number: Int!): String }",
    ],
)
def test_what_cannot_be_tried_by_itself_fails(added: str) -> None:
    with pytest.raises(Unfillable):
        list(tries(extend_schema(SCHEMA, parse(added))))


def test_what_is_added_is_tried_by_itself() -> None:
    added = "extend type Query { shelf(find: Find!, bookIds: [ID!]): String } input Find { requestId: String! n: Int! }"
    new = [tried for tried in tries(extend_schema(SCHEMA, parse(added))) if tried.name.startswith("shelf")]

    assert [(tried.name, tried.variables("req_1")) for tried in new] == [
        ("shelf.find.requestId", {"find": {"requestId": "req_1", "n": 1}}),
        ("shelf.bookIds", {"find": {"requestId": "nothing", "n": 1}, "bookIds": ["req_1"]}),
    ]
