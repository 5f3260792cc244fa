"""The figures about the whole service, read when somebody asks for them."""

from __future__ import annotations

from gql_imgproc import metrics
from gql_imgproc.metrics import ALL, Readings
from gql_imgproc.requests.repository.statistics import overview
from gql_imgproc.runtime import Resources


async def of_database(resources: Resources) -> Readings:
    found = await resources.db.read(overview)
    return {
        metrics.REQUESTS_OPEN: {status.value: count for status, count in found.open_requests.items()},
        metrics.PRODUCTS_PENDING: {ALL: found.pending_products},
        metrics.IMAGES_PENDING: {ALL: found.pending_images},
        metrics.UNCHANGED_SECONDS: {ALL: found.unchanged_s},
        metrics.PRODUCTS_CLAIMABLE: {ALL: found.claimable_products},
        metrics.WEBHOOKS_DUE: {ALL: found.due_webhooks},
    }


async def of_redis(resources: Resources) -> Readings:
    lengths, workers, accounts = await resources.blocking(
        lambda: (resources.queue.lengths(), resources.queue.workers(), resources.duties.accounts())
    )
    return {
        metrics.QUEUE_MESSAGES: lengths,
        metrics.WORKERS: {ALL: workers},
        metrics.DUTY_ENDED: {name: account.ended_at for name, account in accounts.items()},
        metrics.DUTY_RUNS: {name: account.runs for name, account in accounts.items()},
        metrics.DUTY_ITEMS: {name: account.items for name, account in accounts.items()},
    }
