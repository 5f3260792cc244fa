"""The exported schema is on disk as it is in the code, and has all that the contract promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import DefinitionNode, NonNullTypeNode, parse, print_ast, value_from_ast_untyped

from gql_imgproc.graphql.schema import export

ROOT = Path(__file__).parents[2]
COPY = Path(__file__).with_name("contract.graphql")
# Beside the checkout where there is one: the copy must not drift from it.
ORIGINAL = ROOT.parent / "shared" / "contract.graphql"


def differences(contract: str, schema: str) -> list[str]:
    """What the contract has and the schema has not, or has otherwise; empty when the schema contains it."""
    ours = {_key(node): node for node in parse(schema).definitions}
    return [
        fault
        for wanted in parse(contract).definitions
        for fault in (
            _compare(_key(wanted), wanted, ours[_key(wanted)])
            if _key(wanted) in ours
            else [f"{_key(wanted)} is missing"]
        )
    ]


def _key(node: Any) -> str:
    return f"{node.kind} {node.name.value}"


def _compare(path: str, wanted: Any, found: Any) -> Iterator[str]:
    """Compares two definitions of the same name, then what they are made of."""
    for what, one, other in (
        ("description", _text(wanted.description), _text(found.description)),
        ("type", _print(wanted, "type"), _print(found, "type")),
        ("default", _default(wanted), _default(found)),
        ("repeatable", getattr(wanted, "repeatable", None), getattr(found, "repeatable", None)),
    ):
        if one != other:
            yield f"{path}: {what} is {other!r}, not {one!r}"
    for what in ("directives", "interfaces", "types", "locations"):
        lost = {print_ast(node) for node in _list(wanted, what)} - {print_ast(node) for node in _list(found, what)}
        if lost:
            yield f"{path}: without {what} {', '.join(sorted(lost))}"
    for what in ("fields", "values", "arguments"):
        ours = {node.name.value: node for node in _list(found, what)}
        for member in _list(wanted, what):
            name = member.name.value
            if name not in ours:
                yield f"{path}.{name} is missing"
            else:
                yield from _compare(f"{path}.{name}", member, ours.pop(name))
        yield from (f"{path}.{name} is new and required" for name, node in ours.items() if _required(node))


def _list(node: Any, name: str) -> list[Any]:
    # The arguments of a directive's definition and of a field's are named alike; those of its use are not compared.
    return list(getattr(node, name, None) or ())


def _print(node: Any, name: str) -> str | None:
    value = getattr(node, name, None)
    return print_ast(value) if value is not None else None


def _default(node: Any) -> Any:
    value = getattr(node, "default_value", None)
    # As a value, for 1.0 may be written as 1; None stands for null, and for the want of a default its name.
    return "none" if value is None else value_from_ast_untyped(value)


def _text(node: Any) -> str | None:
    return node.value if node else None


def _required(node: Any) -> bool:
    is_input = node.kind == "input_value_definition"
    return is_input and isinstance(node.type, NonNullTypeNode) and node.default_value is None


def test_schema_on_disk_is_what_the_code_exports() -> None:
    on_disk = (ROOT / "schema.graphql").read_text()

    exported = export()

    assert on_disk == exported, "run `gql-imgproc export-schema > schema.graphql`"


def test_schema_contains_the_contract() -> None:
    contract = COPY.read_text()

    found = differences(contract, export())

    assert found == []


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the contract is not beside this checkout")
def test_copy_of_the_contract_is_the_contract() -> None:
    assert COPY.read_text() == ORIGINAL.read_text()


def test_schema_describes_every_element() -> None:
    nodes: list[Any] = [node for node in parse(export()).definitions if isinstance(node, DefinitionNode)]

    parts = [(node, part) for node in nodes for what in ("fields", "values") for part in _list(node, what)]
    arguments = [(part, argument) for _, part in parts for argument in _list(part, "arguments")]

    assert [_key(node) for node in nodes if not node.description] == []
    assert [f"{_key(owner)}.{part.name.value}" for owner, part in [*parts, *arguments] if not part.description] == []


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("type Crop {", "type Crops {", "object_type_definition Crop is missing"),
        ("message: String!", "message: String", "type is 'String', not 'String!'"),
        ("quality: Int! = 50", "quality: Int! = 51", "default is 51, not 50"),
        ("@cost(weight: 10)", "@cost(weight: 11)", "without directives @cost(weight: 10)"),
        ("\n  LOW\n", "\n  LOWEST\n", "enum_type_definition Priority.LOW is missing"),
        ("Live updates.", "Dead updates.", "description is 'Dead updates.', not 'Live updates.'"),
        (" | QuotaExceeded\n", "\n", "without types QuotaExceeded"),
        ("type Request implements Node", "type Request", "without interfaces Node"),
        ("  idempotencyKey: String\n", "  idempotencyKey: String\n  owner: ID!\n", "owner is new and required"),
    ],
)
def test_comparison_finds_each_kind_of_difference(before: str, after: str, fault: str) -> None:
    contract = COPY.read_text()
    changed = contract.replace(before, after)
    assert changed != contract

    found = differences(contract, changed)

    assert any(fault in line for line in found)
