"""The schema, and its export as text."""

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
    """Executes equal subscriptions once. Logs no errors: `ErrorMaskingExtension` does, with an error ID."""

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
        start = partial(
            super().stream,
            query,
            variable_values,
            # A context of its own: the execution outlives the subscriber that started it.
            Context(app_state, caller),
            root_value,
            operation_name,
            operation_extensions,
            allowed_operation_types,
        )
        # `default=id`: a file equals only itself.
        operation = json.dumps(
            [query, operation_name, variable_values, operation_extensions], sort_keys=True, default=id
        )
        key = caller.access_key, operation
        if key in app_state.shared_subscriptions or is_subscription(query or "", operation_name):
            return app_state.shared_subscriptions.subscribe(
                key, start, partial(app_state.authenticator.watch_session, caller)
            )
        return await start()

    def _extend_introspection(self) -> None:
        # graphql-core has `isOneOf`. Strawberry's resolver raises for each list and non-null type.
        return None

    def process_errors(self, errors: list[Any], execution_context: Any = None) -> None:
        return None


schema = Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # Types that only `node` returns.
    types=[Request, Product, Image, ApiKey, AuditEvent],
    config=StrawberryConfig(scalar_map=SCALARS),
    # The first extension ends last, so the metrics cover the whole operation.
    extensions=[MetricsExtension, ErrorMaskingExtension, QueryLimitsExtension],
)


def export() -> str:
    """The text of `schema.graphql`."""
    return schema.as_str() + "\n"
