"""The cost of the pages' own operations, which must stay far below the limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import DocumentNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from gql_imgproc.graphql.query_cost import CostVisitor
from gql_imgproc.graphql.query_limits import exceeded_limits
from gql_imgproc.graphql.schema import schema
from gql_imgproc.graphql.types.connection import MAX_PAGE_SIZE
from gql_imgproc.settings import Settings

FRONTEND = Path(__file__).parents[2] / "frontend"


def documents(text: str) -> list[str]:
    """Returns the GraphQL documents in template strings of TypeScript, without interpolations."""
    templates = [re.sub(r"\$\{\w+\}", "", template) for template in re.findall(r"`((?:[^`\\]|\\.)*)`", text)]
    document_start = re.compile(r"\s*(#[^\n]*\n\s*)*(query|mutation|subscription|fragment)\b")
    return [template for template in templates if document_start.match(template)]


def read_documents(folder: Path) -> DocumentNode:
    scripts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.ts*")) if ".test." not in path.name]
    files = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.graphql"))]
    texts = [each for text in scripts for each in documents(text)] + files
    return DocumentNode(definitions=tuple(definition for each in texts for definition in parse(each).definitions))


@pytest.mark.parametrize(("folder", "min_operations"), [("src", 8), ("graphiql", 5)])
def test_page_operations_cost_at_most_a_third_of_the_limit(folder: str, min_operations: int) -> None:
    document = read_documents(FRONTEND / folder)
    fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    limit = Settings.model_fields["max_query_cost"].default

    costs = {}
    for operation in operations:
        whole = DocumentNode(definitions=(operation, *fragments))
        # The web page requests 24 entries per page.
        measure = CostVisitor(schema._schema, whole, {"first": 30, "last": 30}).visit_operation(operation)
        assert exceeded_limits(measure, limit) == []
        costs[operation.name.value if operation.name else ""] = measure.cost

    assert len(costs) >= min_operations
    assert {name: cost for name, cost in costs.items() if cost > limit / 3} == {}
    assert max(costs.values()) > MAX_PAGE_SIZE
