"""Tenant isolation: every root field and every route is probed with every ID of another tenant.

The probes are generated from the schema and the routes, so they cover additions. An addition for which no probe can be
generated fails here and must be handled in this file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from graphql import (
    DocumentNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
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
    validate,
)
from sqlalchemy import Connection, select
from starlette.routing import Mount, Route, WebSocketRoute

from gql_imgproc.access import audit_log
from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, metadata, products, requests
from gql_imgproc.enums import AuditAction, RequestStatus, WebhookEventType
from gql_imgproc.graphql import documents, query_limits
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.requests.repository import endpoint_outbox
from gql_imgproc.requests.webhook_event import WebhookEvent
from gql_imgproc.security.scopes import system_caller
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, output_key
from gql_imgproc.webhooks import repository as webhook_repository
from tests.graphql.client import serve_api
from tests.graphql.live_server import Socket, open_socket
from tests.support.api_keys import bearer, given_key, given_tenant
from tests.support.scenarios import DONE, FAILED, claim_image, finish, given_request, record, stored_names

SCHEMA = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
#: Depth of selections: reaches the images of the products of a request in a page of requests.
DEPTH = 7
#: Size of every page. Small, since the fields of an operation share its budget.
PAGE_SIZE = 2
#: Part of every name of the first tenant, to find it in responses.
MARK = "secret-of-the-first-tenant"

#: Names of arguments that take an ID. Other required arguments get a value from SCALARS.
ID_NAMES = re.compile(r"(?:^|[a-z])(?:id|Id|ID)s?$")
#: Values of required arguments, by type.
SCALARS = {"String": "nothing", "Int": 1, "Float": 0.5, "Boolean": True, "DateTime": "2030-01-01T00:00:00Z"}
SCALARS |= {"URL": "https://shop.example/hook", "ByteCount": 1}


@dataclass(frozen=True)
class TenantData:
    """The global IDs of a tenant's rows, and the paths of its images."""

    ids: list[str]
    image_paths: list[str]


class NoProbe(Exception):
    """No probe can be generated for something in the schema or the routes."""


@dataclass(frozen=True)
class Probe:
    """An operation with a place for an ID."""

    kind: str
    name: str
    document: str
    #: Returns the variables with the ID in its place.
    variables: Callable[[str], dict[str, Any]]
    takes_id: bool


def selection(kind: GraphQLNamedType, depth: int = DEPTH) -> str:
    """Every field and nested field that needs no argument; connections with PAGE_SIZE entries."""
    match kind:
        case GraphQLScalarType() | GraphQLEnumType():
            return ""
        case GraphQLUnionType() | GraphQLInterfaceType():
            members = SCHEMA.get_possible_types(kind)
        case GraphQLObjectType():
            return f"{{ {' '.join(_fields(kind, set(), depth)) or '__typename'} }}"
        case _:
            raise NoProbe(f"{kind} cannot be selected")
    types: dict[str, set[str]] = {}
    for member in members:
        for name, found in member.fields.items():
            types.setdefault(name, set()).add(str(found.type))
    # Fields with the same name and different types need aliases.
    conflicts = {name for name, kinds in types.items() if len(kinds) > 1}
    parts = (f"... on {member.name} {{ {' '.join(_fields(member, conflicts, depth))} }}" for member in members)
    return f"{{ __typename {' '.join(parts)} }}"


def _fields(kind: GraphQLObjectType, conflicts: set[str], depth: int) -> Iterator[str]:
    for name, found in kind.fields.items():
        inner = get_named_type(found.type)
        if depth == 0 and not isinstance(inner, GraphQLScalarType | GraphQLEnumType):
            continue
        arguments = f"(first: {PAGE_SIZE})" if "first" in found.args else ""
        if not arguments and any(is_required_argument(argument) for argument in found.args.values()):
            raise NoProbe(f"{kind}.{name} requires an argument")
        alias = f"{kind.name}_{name}: " if name in conflicts else ""
        yield f"{alias}{name}{arguments} {selection(inner, depth - 1)}"


def probes(schema: GraphQLSchema) -> Iterator[Probe]:
    """One probe for each ID argument of each root field, or one without ID."""
    roots = {"query": schema.query_type, "mutation": schema.mutation_type, "subscription": schema.subscription_type}
    for kind, root in roots.items():
        for name, found in (root.fields if root else {}).items():
            yield from _probes(kind, name, found)


def _probes(kind: str, name: str, found: GraphQLField) -> Iterator[Probe]:
    fields = selection(get_named_type(found.type))
    paths = [path for name, argument in found.args.items() for path in _id_paths((name,), argument.type)]
    for path in paths or [()]:
        used = {name: argument for name, argument in found.args.items() if _is_used(name, argument, path)}

        def variables(id: str, used: dict[str, GraphQLArgument] = used, path: tuple[str, ...] = path) -> dict[str, Any]:
            return {
                name: _value(argument.type, path[1:] if path[:1] == (name,) else None, id)
                for name, argument in used.items()
            }

        declarations = ", ".join(f"${name}: {argument.type}" for name, argument in used.items())
        arguments = ", ".join(f"{name}: ${name}" for name in used)
        variables("probe")
        yield Probe(
            kind,
            ".".join((name, *path)),
            f"{kind}{f'({declarations})' if used else ''} {{ {name}{f'({arguments})' if used else ''} {fields} }}",
            variables,
            bool(path),
        )


def _is_used(name: str, argument: GraphQLArgument, path: tuple[str, ...]) -> bool:
    return is_required_argument(argument) or path[:1] == (name,) or name == "first"


def _id_paths(path: tuple[str, ...], kind: Any) -> Iterator[tuple[str, ...]]:
    """Paths of the IDs in an argument, recognized by type or name."""
    inner = get_named_type(kind)
    if isinstance(inner, GraphQLInputObjectType):
        for name, found in inner.fields.items():
            yield from _id_paths((*path, name), found.type)
    elif inner.name == "ID" or ID_NAMES.search(path[-1]):
        yield path


def _value(kind: Any, path: tuple[str, ...] | None, id: str) -> Any:
    """A value of the type, with the ID at the path."""
    if isinstance(kind, GraphQLNonNull):
        return _value(kind.of_type, path, id)
    if isinstance(kind, GraphQLList):
        return [_value(kind.of_type, path, id)]
    if path == () or getattr(kind, "name", "") == "ID":
        return id
    if isinstance(kind, GraphQLInputObjectType):
        return {
            name: _value(found.type, path[1:] if path and path[0] == name else None, id)
            for name, found in kind.fields.items()
            if is_required_input_field(found) or (path and path[0] == name)
        }
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if kind.name == "Upload":
        # Needs no ID: an upload creates objects of the caller.
        return None
    if kind.name not in SCALARS:
        raise NoProbe(f"no value for a {kind}")
    return SCALARS[kind.name]


def routes(app: Any) -> Iterator[Callable[[str], str]]:
    """For each route with a parameter, a function from its value to the path."""
    for route in app.routes:
        match route:
            case WebSocketRoute() | Mount():
                # GraphQL is probed by its operations. Static files are public.
                assert route.path in ("/graphql", "/static"), route.path
            case Route() if not route.param_convertors:
                assert route.path in ("/", "/graphql", "/healthz", "/readyz", "/metrics"), route.path
            case Route():
                if len(route.param_convertors) != 1:
                    raise NoProbe(f"{route.path} has several parameters")
                yield lambda value, path=route.path: re.sub(r"\{[^}]*\}", lambda _: value, path)
            case _:
                raise NoProbe(f"{route} is an unknown kind of route")


@pytest.fixture
def settings(sqlite_url: str, redis_url: str, tmp_path: Path) -> Settings:
    # Without rate limits, which are tested elsewhere.
    names = [name for name in Settings.model_fields if name.startswith("rate_") and name != "rate_keys_per_tenant"]
    rates: dict[str, Any] = dict.fromkeys(names, "0")
    return Settings(
        **rates,
        _env_file=None,
        database_url=sqlite_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        private_images=True,
        max_query_cost=1_000_000,
    )


#: Table of each kind of ID.
TABLES = {"req": "requests", "prd": "products", "img": "images", "key": "api_keys", "evt": "audit_events"}
TABLES |= {"whe": "webhook_endpoints", "msg": "endpoint_deliveries"}


async def given_tenant_data(runtime: Any, tenant_id: UUID) -> TenantData:
    """A final request with all its parts, an open request, and an API key."""
    database, storage = runtime.db, runtime.storage
    image_paths = []
    for is_final in (True, False):
        request_id = given_request(
            database,
            *(1, 1),
            tenant_id=tenant_id,
            csv_filename=f"{MARK}.csv",
            webhook_url=f"https://{MARK}.example/hook",
            warnings=[{"row": 1, "column": None, "code": "EMPTY_FILE", "message": MARK}],
        )
        snapshot = record(database, claim_image(database, request_id), DONE)
        if is_final:
            snapshot = record(database, claim_image(database, request_id), FAILED)
            assert finish(database, snapshot.id, RequestStatus.COMPLETED_WITH_ERRORS) is not None
            await storage.put(output_key(request_id, "output-1.csv"), MARK.encode(), "text/csv")
        # One of this version, and one as earlier versions stored it.
        for name in (*database.read_now(stored_names, request_id), f"{new_id().hex}-1.jpg"):
            await storage.put(image_key(request_id, name), MARK.encode(), "image/jpeg")
            image_paths.append(f"{request_id.hex}/{name}")
    given_key(database, tenant_id, name=MARK)
    given_endpoint(database, tenant_id)
    caller = system_caller(tenant_id, MARK)
    database.write_now(audit_log.record_event, caller, AuditAction.REQUEST_ACCEPTED, MARK, file=MARK)
    ids = {kind: database.read_now(read_ids, tenant_id, kind) for kind in IdPrefix}
    assert all(ids.values()), ids
    return TenantData([encode_global_id(kind, id) for kind, values in ids.items() for id in values], image_paths)


def given_endpoint(database: Database, tenant_id: UUID) -> None:
    """An endpoint with a delivery in its log."""
    id, types = new_id(), [WebhookEventType.REQUEST_COMPLETED]
    database.write_now(webhook_repository.insert_endpoint, id, tenant_id, f"https://{MARK}.example/hook", types)
    event = WebhookEvent(types[0], datetime(2030, 1, 1, tzinfo=UTC), {"mark": MARK})
    database.write_now(endpoint_outbox.insert_delivery, new_id(), id, event, None)


def read_ids(connection: Connection, tenant_id: UUID, kind: IdPrefix) -> list[UUID]:
    if kind not in TABLES:
        raise NoProbe(f"no table for IDs of the kind {kind}")
    table = metadata.tables[TABLES[kind]]
    statement = select(table.c.id)
    if kind is IdPrefix.IMAGE:
        # The tenant is a column of its product.
        statement = statement.join(products, products.c.id == images.c.product_id)
        table = products
    if kind is IdPrefix.WEBHOOK_DELIVERY:
        # The tenant is a column of its endpoint.
        endpoints = metadata.tables["webhook_endpoints"]
        statement = statement.join(endpoints, endpoints.c.id == table.c.endpoint_id)
        table = endpoints
    return list(connection.scalars(statement.where(table.c.tenant_id == tenant_id)))


def read_all_rows(connection: Connection) -> list[Any]:
    """All rows, to assert that nothing was changed."""
    return [
        sorted(map(str, connection.execute(select(*table.c.values()))))
        for name, table in metadata.tables.items()
        if name in ("requests", "products", "images", "webhook_deliveries", "webhook_endpoints", "endpoint_deliveries")
    ]


class Client:
    """A caller with an API key, over each transport."""

    def __init__(self, http: httpx.AsyncClient, socket: Socket, key: str) -> None:
        self.http, self.socket, self.headers = http, socket, bearer(key)

    async def by_http(self, probe: Probe, variables: dict[str, Any]) -> str:
        payload = {"query": probe.document, "variables": variables}
        return (await self.http.post("/graphql", json=payload, headers=self.headers)).text

    async def by_sse(self, probe: Probe, variables: dict[str, Any]) -> str:
        headers = self.headers | {"Accept": "text/event-stream"}
        payload = {"query": probe.document, "variables": variables}
        received = ""
        # The first event is enough: a leaking subscription may never end.
        async with self.http.stream("POST", "/graphql", json=payload, headers=headers) as response:
            async for text in response.aiter_text():
                received += text
                if event := re.search(r"data:.*?(?:\r?\n){2}", received, re.DOTALL):
                    return event[0]
        return received

    async def by_socket(self, probe: Probe, variables: dict[str, Any]) -> str:
        await self.socket.subscribe("1", probe.document, **variables)
        message = await self.socket.receive()
        # Also ends a leaking subscription, so that the next probe can use the ID again.
        await self.socket.send(id="1", type="complete")
        await self.socket.drain()
        return json.dumps(message)

    async def by_route(self, path: str) -> str:
        response = await self.http.get(path, headers=self.headers)
        headers = {name: value for name, value in response.headers.items() if name not in ("date", "server")}
        return f"{response.status_code} {sorted(headers.items())} {response.text}"


def unknown_id_like(id: str) -> str:
    """A global ID of the same kind that does not exist."""
    return encode_global_id(IdPrefix(id.split("_")[0]), new_id())


@asynccontextmanager
async def foreign_client(host: str, runtime: Any) -> AsyncIterator[Client]:
    """A client of another tenant."""
    key, _ = given_key(runtime.db, given_tenant(runtime.db, "other"))
    async with (
        httpx.AsyncClient(base_url=f"http://{host}", timeout=20) as http,
        open_socket(host, begin=False) as socket,
    ):
        await socket.send(type="connection_init", payload=bearer(key))
        assert await socket.receive() == {"type": "connection_ack"}
        yield Client(http, socket, key)


async def find_leaks(host: str, app: Any, *, every_transport: bool = True) -> list[str]:
    """Responses to another tenant that have data, or differ from the response for an unknown ID."""
    runtime = app.state.runtime
    data = await given_tenant_data(runtime, given_tenant(runtime.db, "first"))
    before = runtime.db.read_now(read_all_rows)
    leaks: list[str] = []
    async with foreign_client(host, runtime) as client:
        for probe in probes(SCHEMA):
            sends = [client.by_sse] if probe.kind == "subscription" else [client.by_http, client.by_sse]
            for send in [*sends, client.by_socket] if every_transport else sends[:1]:
                leaks += [leak async for leak in probe_leaks(probe, send, data)]
        for path in routes(app):
            for value in (*data.ids, *data.image_paths, *(id.split("_")[-1] for id in data.ids)):
                unknown = re.sub(r"[0-9a-f]{32}", lambda _: new_id().hex, value)
                response = await client.by_route(path(value))
                expected = await client.by_route(path(unknown))
                if MARK in response or response.replace(value, "ID") != expected.replace(unknown, "ID"):
                    leaks.append(f"{path('…')} shows {value}")
    if runtime.db.read_now(read_all_rows) != before:
        leaks.append("rows were changed")
    return leaks


async def probe_leaks(
    probe: Probe, send: Callable[[Probe, dict[str, Any]], Awaitable[str]], data: TenantData
) -> AsyncIterator[str]:
    """Leaks of one probe over one transport."""
    expected: dict[str, str] = {}
    for id in data.ids if probe.takes_id else ["none"]:
        response = await send(probe, probe.variables(id))
        # An operation that is not executed proves nothing.
        if re.search("_VALIDATION_FAILED|_PARSE_FAILED|INTERNAL", response):
            raise NoProbe(f"{probe.name} is not executed: {response[:500]}")
        if MARK in response or any(other in response for other in data.ids if other != id):
            yield f"{probe.name} shows data for {id}"
        if not probe.takes_id:
            continue
        unknown = unknown_id_like(id)
        kind = unknown.split("_")[0]
        if kind not in expected:
            expected[kind] = (await send(probe, probe.variables(unknown))).replace(unknown, "ID")
        if response.replace(id, "ID") != expected[kind]:
            yield f"{probe.name} distinguishes {id} from an unknown ID"


@pytest.fixture
def _validation_is_memoized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validates each document once: the most expensive step, which depends on the document and the schema alone."""
    errors: dict[str, list[GraphQLError]] = {}

    def validate_once(schema: GraphQLSchema, document: DocumentNode, *args: Any, **options: Any) -> list[GraphQLError]:
        assert document.loc is not None
        text = document.loc.source.body
        if text not in errors:
            errors[text] = validate(schema, document, *args, **options)
        return errors[text]

    monkeypatch.setattr(query_limits, "validate", validate_once)
    # A probe selects every field, which are more than one document may have.
    monkeypatch.setattr(documents, "MAX_TOKENS", 10_000)


@pytest.mark.parametrize("every_transport", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("_validation_is_memoized")
async def test_no_data_of_a_tenant_reaches_another(settings: Settings, every_transport: bool) -> None:
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        assert await find_leaks(host, app, every_transport=every_transport) == []


@pytest.mark.slow
@pytest.mark.usefixtures("_validation_is_memoized")
async def test_statement_without_its_tenant_condition_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the condition of all statements on one request, without the tenant,
    modules = [module for name, module in sys.modules.items() if name.startswith("gql_imgproc.requests.repository.")]
    patched = [module for module in modules if hasattr(module, "request_of_tenant")]
    assert patched
    for module in patched:
        monkeypatch.setattr(module, "request_of_tenant", lambda tenant_id, request_id: (requests.c.id == request_id,))

    # when the service is probed over one transport for each operation,
    async with serve_api(settings, anonymous=AnonymousAccess.NEVER) as (host, app):
        leaks = await find_leaks(host, app, every_transport=False)

    # then the leaks are found.
    names = {leak.split(" ")[0] for leak in leaks}
    assert names >= {"request.id", "node.id", "requestProgress.id", "deleteRequest.input.id", "/api/download/…"}
    assert "rows were changed" in leaks


@pytest.mark.parametrize(
    "added",
    [
        "extend type Query { shelf(id: ID!, place: Place!): String } scalar Place",
        "extend type Query { shelf(id: ID!): Shelf } type Shelf { book(number: Int!): String }",
    ],
)
def test_addition_without_probe_fails(added: str) -> None:
    with pytest.raises(NoProbe):
        list(probes(extend_schema(SCHEMA, parse(added))))


def test_additions_are_probed() -> None:
    added = "extend type Query { shelf(find: Find!, bookIds: [ID!]): String } input Find { requestId: String! n: Int! }"
    new = [probe for probe in probes(extend_schema(SCHEMA, parse(added))) if probe.name.startswith("shelf")]

    assert [(probe.name, probe.variables("req_1")) for probe in new] == [
        ("shelf.find.requestId", {"find": {"requestId": "req_1", "n": 1}}),
        ("shelf.bookIds", {"find": {"requestId": "nothing", "n": 1}, "bookIds": ["req_1"]}),
    ]
