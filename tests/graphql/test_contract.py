"""The exported schema equals schema.graphql, and contains the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import DefinitionNode, NonNullTypeNode, parse, print_ast, value_from_ast_untyped

from gql_imgproc.graphql.schema import export

ROOT = Path(__file__).parents[2]
COPY = Path(__file__).with_name("contract.graphql")
# Next to the checkout, if it exists: the copy must not drift from it.
ORIGINAL = ROOT.parent / "shared" / "contract.graphql"


def differences(contract: str, schema: str) -> list[str]:
    """What of the contract is missing from the schema or differs. Descriptions are not compared."""
    found = {_key(node): node for node in parse(schema).definitions}
    return [
        difference
        for node in parse(contract).definitions
        for difference in (
            _compare(_key(node), node, found[_key(node)]) if _key(node) in found else [f"{_key(node)} is missing"]
        )
    ]


def _key(node: Any) -> str:
    return f"{node.kind} {node.name.value}"


def _compare(path: str, expected: Any, found: Any) -> Iterator[str]:
    """Compares two definitions of the same name, then their members."""
    for what, contract, actual in (
        ("type", _print(expected, "type"), _print(found, "type")),
        ("default", _default(expected), _default(found)),
        ("repeatable", getattr(expected, "repeatable", None), getattr(found, "repeatable", None)),
    ):
        if contract != actual:
            yield f"{path}: {what} is {actual!r}, not {contract!r}"
    for what in ("directives", "interfaces", "types", "locations"):
        missing = {print_ast(node) for node in _list(expected, what)} - {print_ast(node) for node in _list(found, what)}
        if missing:
            yield f"{path}: without {what} {', '.join(sorted(missing))}"
    for what in ("fields", "values", "arguments"):
        members = {node.name.value: node for node in _list(found, what)}
        for member in _list(expected, what):
            name = member.name.value
            if name not in members:
                yield f"{path}.{name} is missing"
            else:
                yield from _compare(f"{path}.{name}", member, members.pop(name))
        yield from (f"{path}.{name} is new and required" for name, node in members.items() if _is_required(node))


def _list(node: Any, name: str) -> list[Any]:
    # Definitions of directives and fields both have `arguments`; those of a directive's use are not compared.
    return list(getattr(node, name, None) or ())


def _print(node: Any, name: str) -> str | None:
    value = getattr(node, name, None)
    return print_ast(value) if value is not None else None


def _default(node: Any) -> Any:
    value = getattr(node, "default_value", None)
    # Compared as a value, since 1.0 may be written as 1. None stands for null, "none" for no default.
    return "none" if value is None else value_from_ast_untyped(value)


def _is_required(node: Any) -> bool:
    is_input = node.kind == "input_value_definition"
    return is_input and isinstance(node.type, NonNullTypeNode) and node.default_value is None


def test_schema_file_equals_the_export() -> None:
    on_disk = (ROOT / "schema.graphql").read_text()

    exported = export()

    assert on_disk == exported, "run `gql-imgproc export-schema > schema.graphql`"


def test_schema_contains_the_contract() -> None:
    contract = COPY.read_text()

    assert differences(contract, export()) == []


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the contract is not next to this checkout")
def test_copy_of_the_contract_is_current() -> None:
    assert COPY.read_text() == ORIGINAL.read_text()


def test_schema_describes_every_element() -> None:
    nodes: list[Any] = [node for node in parse(export()).definitions if isinstance(node, DefinitionNode)]

    parts = [(node, part) for node in nodes for what in ("fields", "values") for part in _list(node, what)]
    arguments = [(part, argument) for _, part in parts for argument in _list(part, "arguments")]

    assert [_key(node) for node in nodes if not node.description] == []
    assert [f"{_key(owner)}.{part.name.value}" for owner, part in [*parts, *arguments] if not part.description] == []


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ("type Crop {", "type Crops {", "object_type_definition Crop is missing"),
        ("message: String!", "message: String", "type is 'String', not 'String!'"),
        ("quality: Int! = 50", "quality: Int! = 51", "default is 51, not 50"),
        ("@cost(weight: 10)", "@cost(weight: 11)", "without directives @cost(weight: 10)"),
        ("\n  LOW\n", "\n  LOWEST\n", "enum_type_definition Priority.LOW is missing"),
        (" | QuotaExceeded\n", "\n", "without types QuotaExceeded"),
        ("type Request implements Node", "type Request", "without interfaces Node"),
        ("  idempotencyKey: String\n", "  idempotencyKey: String\n  owner: ID!\n", "owner is new and required"),
    ],
)
def test_comparison_finds_each_kind_of_difference(before: str, after: str, difference: str) -> None:
    contract = COPY.read_text()
    changed = contract.replace(before, after)
    assert changed != contract

    found = differences(contract, changed)

    assert any(difference in line for line in found)
