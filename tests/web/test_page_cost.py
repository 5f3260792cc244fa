"""What our own pages ask for is far below the limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from gql_imgproc.graphql.query_cost import CostAnalyzer
from gql_imgproc.graphql.query_limits import exceeded_limits
from gql_imgproc.graphql.schema import schema
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE
from gql_imgproc.settings import Settings

UI = Path(__file__).parents[2] / "frontend"


def documents(text: str) -> list[str]:
    """The documents that stand in templates of TypeScript, without what is put into them."""
    inside = [re.sub(r"\$\{\w+\}", "", template) for template in re.findall(r"`((?:[^`\\]|\\.)*)`", text)]
    begin = re.compile(r"\s*(#[^\n]*\n\s*)*(query|mutation|subscription|fragment)\b")
    return [template for template in inside if begin.match(template)]


def found_in(folder: Path) -> DocumentNode:
    scripts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.ts*")) if ".test." not in path.name]
    files = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.graphql"))]
    found = [each for text in scripts for each in documents(text)] + files
    return DocumentNode(definitions=tuple(definition for each in found for definition in parse(each).definitions))


@pytest.mark.parametrize(("folder", "fewest"), [("src", 8), ("graphiql", 5)])
def test_each_operation_of_a_page_costs_a_third_of_the_limit_at_most(folder: str, fewest: int) -> None:
    document = found_in(UI / folder)
    fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    limit = Settings.model_fields["max_query_cost"].default

    costs = {}
    for operation in operations:
        whole = DocumentNode(definitions=(operation, *fragments))
        # The pages of our page have 24 entries.
        measure = CostAnalyzer(schema._schema, whole, {"first": 30, "last": 30}).operation(operation)
        assert exceeded_limits(measure, limit) == []
        costs[operation.name.value if operation.name else ""] = measure.cost

    assert len(costs) >= fewest
    assert {name: cost for name, cost in costs.items() if cost > limit / 3} == {}
    assert max(costs.values()) > MAX_PAGE_SIZE
