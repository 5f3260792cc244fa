"""The sample operations in GraphiQL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import FieldNode, GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate

ROOT = Path(__file__).parents[2]
GRAPHIQL = ROOT / "frontend" / "graphiql"
SAMPLES = sorted((GRAPHIQL / "samples").glob("*.graphql"))


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema((ROOT / "schema.graphql").read_text(encoding="utf-8"))


def operations(sample: Path) -> list[OperationDefinitionNode]:
    definitions = parse(sample.read_text(encoding="utf-8")).definitions
    return [node for node in definitions if isinstance(node, OperationDefinitionNode)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_sample_is_one_valid_operation(schema: GraphQLSchema, sample: Path) -> None:
    assert validate(schema, parse(sample.read_text(encoding="utf-8"))) == []
    assert len(operations(sample)) == 1


def test_every_root_field_has_a_sample(schema: GraphQLSchema) -> None:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    root_fields = sorted(field for root in roots if root is not None for field in root.fields)

    sample_fields = [
        node.name.value
        for sample in SAMPLES
        for operation in operations(sample)
        for node in operation.selection_set.selections
        if isinstance(node, FieldNode)
    ]

    assert sorted(sample_fields) == root_fields


def test_every_sample_is_listed() -> None:
    code = (GRAPHIQL / "samples.ts").read_text(encoding="utf-8")

    imported = dict(re.findall(r'^import (\w+) from "\./samples/(\S+)\?raw";$', code, re.MULTILINE))

    assert sorted(imported.values()) == [sample.name for sample in SAMPLES]
    tabs = re.findall(r"^    \[(\w+)", code, re.MULTILINE)
    assert sorted(tabs) == sorted(imported)
