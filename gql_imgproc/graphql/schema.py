"""The schema: every type put together, and its text."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from gql_imgproc.graphql import enums  # noqa: F401  # importing it describes the enums of the ground floor
from gql_imgproc.graphql.cost import DocumentLimits
from gql_imgproc.graphql.faults import PresentableErrors
from gql_imgproc.graphql.mutation import Mutation
from gql_imgproc.graphql.query import Query
from gql_imgproc.graphql.scalars import SCALARS
from gql_imgproc.graphql.subscription import Subscription
from gql_imgproc.graphql.types import Image, Product, Request


class Schema(strawberry.Schema):
    """Leaves the logging of errors to `PresentableErrors`, which gives each a number."""

    def process_errors(self, errors: list[Any], execution_context: Any = None) -> None:
        return None


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # What `node` can give is not reachable through fields alone.
    types=[Request, Product, Image],
    config=StrawberryConfig(scalar_map=SCALARS),
    extensions=[PresentableErrors, DocumentLimits],
)


def export() -> str:
    """The schema in the GraphQL schema language; `schema.graphql` is this text."""
    return schema.as_str() + "\n"
