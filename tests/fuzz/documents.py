"""Strategies for GraphQL operations: generated from the schema with unusual values, then damaged as text and JSON."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    print_ast,
)
from graphql.utilities import ast_from_value
from hypothesis import strategies as st

_MAX_DEPTH = 4
_MAX_FIELDS = 4
_TEXTS = (
    "",
    "req_",
    "req_0199d5b7c0007000800000000000000a",
    "prd_0199d5b7c0007000800000000000000a",
    "img_" + "0" * 32,
    "req_" + "f" * 400,
    "REQ_0199D5B7C0007000800000000000000A",
    "0",
    "Lamp",
    "%_\\'\"",
    "\0",
    "a\0b",
    "\u202e\ufeff",
    "\ud800",
    "\ud7ff\ue000",
    "eyJ9",
    "bnVsbA==",
    "WzFd",
    "W10=",
    "////",
    "x" * 5_000,
    "NORMAL",
    "https://shop.example/hook",
    "http://127.0.0.1/",
    "2030-01-31T12:00:00Z",
)
_NUMBERS = (0, 1, -1, 2, 50, 100, 101, 2**31 - 1, 2**31, -(2**31), 2**53, 2**63, 2**64, 10**30)
_FRACTIONS = (0.0, -0.0, 0.05, 0.5, 1.0, 1e308, 5e-324, -1.5)
#: Parts of GraphQL documents, to be inserted anywhere.
_TOKENS = (
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "$",
    "!",
    "@skip(if: true)",
    "@x",
    "...",
    "... on",
    "fragment A on Query {",
    '"',
)
_TOKENS += ('"""', "\\u0000", "\\uD800", "\0", "#", "null", "9" * 5_000, "1e999", "-", "__typename", "\ufeff", "query")
_TOKENS += ("mutation", "subscription", "{a:" * 30, "é", "&", "|", "=")

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(_NUMBERS)
    | st.sampled_from(_FRACTIONS)
    | st.sampled_from(_TEXTS)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_TEXTS) | st.text(max_size=6), inner),
    max_leaves=5,
)


@cache
def schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))


class Writer:
    """Writes one operation; each value becomes a literal or a variable."""

    def __init__(self, draw: st.DrawFn, texts: tuple[str, ...]) -> None:
        self.draw = draw
        self.texts = texts
        self.declarations: list[str] = []
        self.variables: dict[str, Any] = {}

    def value(self, kind: Any, depth: int = 0) -> Any:
        """A value, usually of this type."""
        draw = self.draw
        if draw(st.integers(0, 29)) == 0:
            return draw(json_values)
        if isinstance(kind, GraphQLNonNull):
            return self.value(kind.of_type, depth)
        if draw(st.integers(0, 9)) == 0:
            return None
        if isinstance(kind, GraphQLList):
            return [self.value(kind.of_type, depth + 1) for _ in range(draw(st.integers(0, 3)))]
        if isinstance(kind, GraphQLInputObjectType):
            return {
                name: self.value(field.type, depth + 1)
                for name, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or draw(st.booleans())
            }
        if isinstance(kind, GraphQLEnumType):
            return draw(st.sampled_from(sorted(kind.values)))
        match kind.name:
            case "Int":
                return draw(st.sampled_from(_NUMBERS) | st.integers(-5, 110))
            case "Float":
                return draw(st.sampled_from(_FRACTIONS) | st.floats(0, 1))
            case "Boolean":
                return draw(st.booleans())
            case _:
                return draw(st.sampled_from(self.texts) | st.sampled_from(_TEXTS) | st.text(max_size=8))

    def arguments(self, field: GraphQLField) -> str:
        arguments = []
        for name, argument in field.args.items():
            if not isinstance(argument.type, GraphQLNonNull) and self.draw(st.booleans()):
                continue
            value = self.value(argument.type)
            if self.draw(st.booleans()):
                variable = f"v{len(self.declarations)}"
                self.declarations.append(f"${variable}: {argument.type}")
                self.variables[variable] = value
                arguments.append(f"{name}: ${variable}")
                continue
            try:
                literal = ast_from_value(value, argument.type)
                text = "null" if literal is None else print_ast(literal)
            except Exception:
                # A value of another type: as JSON it is usually an invalid literal.
                text = json.dumps(value)
            arguments.append(f"{name}: {text}")
        return f"({', '.join(arguments)})" if arguments else ""

    def selection(self, kind: Any, depth: int = 0) -> str:
        named = get_named_type(kind)
        if isinstance(named, GraphQLUnionType | GraphQLInterfaceType):
            types = [*schema().get_possible_types(named)]
            members = self.draw(st.lists(st.sampled_from(types), min_size=1, max_size=2))
            spread = " ".join(f"... on {member.name} {self.selection(member, depth)}" for member in members)
            return f"{{ __typename {spread} }}"
        if not isinstance(named, GraphQLObjectType):
            return ""
        names = sorted(named.fields)
        selected = self.draw(st.lists(st.sampled_from(names), min_size=1, max_size=_MAX_FIELDS))
        fields = ["__typename"]
        for number, name in enumerate(selected):
            field = named.fields[name]
            if depth >= _MAX_DEPTH and isinstance(get_named_type(field.type), GraphQLObjectType):
                continue
            # With aliases, since the same field may have different arguments.
            fields.append(f"f{number}: {name}{self.arguments(field)} {self.selection(field.type, depth + 1)}".rstrip())
        return f"{{ {' '.join(fields)} }}"


@st.composite
def operations(draw: st.DrawFn, texts: tuple[str, ...] = _TEXTS) -> tuple[str, dict[str, Any]]:
    """A document and its variables; `texts` may be IDs that exist."""
    writer = Writer(draw, texts)
    kind, root = draw(
        st.sampled_from(
            [
                ("query", schema().query_type),
                ("query", schema().query_type),
                ("mutation", schema().mutation_type),
                ("subscription", schema().subscription_type),
            ]
        )
    )
    selection = writer.selection(root)
    if kind == "subscription":
        # The specification allows one root field.
        field = writer.arguments(schema().subscription_type.fields["requestProgress"])
        selection = f"{{ requestProgress{field} {writer.selection(schema().get_type('Request'), 2)} }}"
    declarations = f"({', '.join(writer.declarations)})" if writer.declarations else ""
    return f"{kind} Fuzz{declarations} {selection}", writer.variables


@st.composite
def damaged_text(draw: st.DrawFn, text: str) -> str:
    """The text with tokens inserted and parts removed."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        removed = draw(st.sampled_from((0, 0, 1, 5, 10_000)))
        text = text[:at] + draw(st.sampled_from(("", *_TOKENS))) + text[at + removed :]
    return text


@st.composite
def envelopes(draw: st.DrawFn, texts: tuple[str, ...] = _TEXTS) -> dict[str, Any]:
    """The JSON body of an operation."""
    query, variables = draw(operations(texts))
    envelope: dict[str, Any] = {"query": draw(damaged_text(query)) if draw(st.integers(0, 4)) == 0 else query}
    envelope["variables"] = variables
    if draw(st.integers(0, 7)) == 0:
        envelope["operationName"] = draw(st.sampled_from(["Fuzz", "", "Other", "x" * 3_000, "\0", None]))
    if draw(st.integers(0, 7)) == 0:
        field = draw(st.sampled_from(["query", "variables", "operationName", "extensions", "id", "map", "\0"]))
        envelope[field] = draw(json_values)
    return envelope
