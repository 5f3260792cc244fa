"""The schema: every type put together, and its text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StreamResult
from strawberry.types.graphql import OperationType

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.errors import ErrorMaskingExtension
from gql_imgproc.graphql.metrics_extension import MetricsExtension
from gql_imgproc.graphql.mutation import Mutation
from gql_imgproc.graphql.query import Query
from gql_imgproc.graphql.query_limits import QueryLimitsExtension, is_subscription
from gql_imgproc.graphql.subscription import Subscription
from gql_imgproc.graphql.types.api_key import ApiKey
from gql_imgproc.graphql.types.audit import AuditEvent
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.product import Product
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.scalars import SCALARS


class Schema(strawberry.Schema):
    """Executes equal subscriptions once; `ErrorMaskingExtension` logs errors, with an ID."""

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any | None = None,
        root_value: Any | None = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        assert isinstance(context_value, Context)
        app_state, caller = context_value.app_state, context_value.caller
        begin = partial(
            super().stream,
            query,
            variable_values,
            # Not the first caller's, who may leave while others stay.
            Context(app_state, caller),
            root_value,
            operation_name,
            operation_extensions,
            allowed_operation_types,
        )
        # A file is equal to itself only.
        asked = json.dumps([query, operation_name, variable_values, operation_extensions], sort_keys=True, default=id)
        key = caller.access_key, asked
        if key in app_state.shared_subscriptions or is_subscription(query or "", operation_name):
            return app_state.shared_subscriptions.follow(
                key, begin, partial(app_state.authenticator.watch_session, caller)
            )
        return await begin()

    def process_errors(self, errors: list[Any], execution_context: Any = None) -> None:
        return None


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # What `node` can give is not reachable through fields alone.
    types=[Request, Product, Image, ApiKey, AuditEvent],
    config=StrawberryConfig(scalar_map=SCALARS),
    # The first of them ends last: what is measured is what the caller gets.
    extensions=[MetricsExtension, ErrorMaskingExtension, QueryLimitsExtension],
)


def export() -> str:
    """The schema in the GraphQL schema language; `schema.graphql` is this text."""
    return schema.as_str() + "\n"
