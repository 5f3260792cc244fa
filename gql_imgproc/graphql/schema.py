"""The schema, and its export as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import strawberry
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig

from gql_imgproc.graphql.documents import parse_document
from gql_imgproc.graphql.mutation import Mutation
from gql_imgproc.graphql.query import Query
from gql_imgproc.graphql.subscription import Subscription
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.audit import AuditEvent
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.product import Product
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.scalars import SCALARS


class CachedDocument(SchemaExtension):
    """Executes the document that `execution` has parsed and checked."""

    def on_parse(self) -> Iterator[None]:
        self.execution_context.graphql_document = parse_document(self.execution_context.query or "")
        self.execution_context.validation_rules = ()
        yield


class Schema(strawberry.Schema):
    """Call it through `execution`, which checks documents before they are executed."""

    def _extend_introspection(self) -> None:
        # graphql-core has `isOneOf`. Strawberry's resolver raises for each list and non-null type.
        return None

    def process_errors(self, errors: list[Any], execution_context: Any = None) -> None:
        # `mask_error` logs them, with an error ID.
        return None


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # Types that only `node` returns.
    types=[Request, Product, Image, ApiKey, AuditEvent],
    config=StrawberryConfig(scalar_map=SCALARS),
    extensions=[CachedDocument],
)


def export() -> str:
    return schema.as_str() + "\n"
