"""A client of the service for Python programs: `Client` blocks, `AsyncClient` has the same methods to await.

Upload a file, watch its progress, and download the output CSV:

    from gql_imgproc.client import Client, UserError

    with Client("http://127.0.0.1:8000") as client:
        try:
            request = client.upload("products.csv")
        except UserError as error:
            raise SystemExit("\\n".join([str(error), *(f"row {issue.row}: {issue.message}" for issue in error.issues)]))
        for request in client.watch(request.id):
            print(request.status, request.progress_percent)
        client.download(request, "products-output.csv")

Retry the failed images of all requests:

    import asyncio

    from gql_imgproc.client import AsyncClient, RequestStatus


    async def retry_failed() -> None:
        async with AsyncClient("http://127.0.0.1:8000") as client:
            async for request in client.list(RequestStatus.COMPLETED_WITH_ERRORS):
                await client.retry(request.id)


    asyncio.run(retry_failed())
"""

from gql_imgproc.client.async_client import AsyncClient
from gql_imgproc.client.blocking_client import Client
from gql_imgproc.client.errors import ServiceError, ServiceUnavailable, UserError
from gql_imgproc.client.request import (
    ChangeCounts,
    Changes,
    CsvIssue,
    Estimate,
    ExpectedFailure,
    Request,
    RequestFailure,
)
from gql_imgproc.enums import Priority, RequestStatus

__all__ = [
    "AsyncClient",
    "ChangeCounts",
    "Changes",
    "Client",
    "CsvIssue",
    "Estimate",
    "ExpectedFailure",
    "Priority",
    "Request",
    "RequestFailure",
    "RequestStatus",
    "ServiceError",
    "ServiceUnavailable",
    "UserError",
]
