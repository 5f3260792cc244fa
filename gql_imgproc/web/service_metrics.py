"""Metrics of the whole service, read from the database and Redis on every scrape."""

from __future__ import annotations

from gql_imgproc import metrics
from gql_imgproc.errors import StoreNotConfirmed
from gql_imgproc.metrics import NO_LABEL, ServiceMetricValues
from gql_imgproc.requests.repository.statistics import read_statistics
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.store_marker import check_marker


async def read_database_metrics(runtime: Runtime) -> ServiceMetricValues:
    found = await runtime.db.read(read_statistics)
    return {
        metrics.REQUESTS_OPEN: {status.value: count for status, count in found.open_requests.items()},
        metrics.PRODUCTS_PENDING: {NO_LABEL: found.pending_products},
        metrics.IMAGES_PENDING: {NO_LABEL: found.pending_images},
        metrics.OLDEST_REQUEST_IDLE_SECONDS: {NO_LABEL: found.oldest_idle_s},
        metrics.IMAGES_CLAIMABLE: {NO_LABEL: found.claimable_images},
        metrics.WEBHOOKS_DUE: {NO_LABEL: found.due_webhooks},
    }


async def read_redis_metrics(runtime: Runtime) -> ServiceMetricValues:
    lengths, workers, tasks = await runtime.run_blocking(
        lambda: (runtime.queue.lengths(), runtime.queue.count_workers(), runtime.leader_locks.stats())
    )
    return {
        metrics.QUEUE_MESSAGES: lengths,
        metrics.WORKERS: {NO_LABEL: workers},
        metrics.TASK_LAST_RUN: {name: stats.last_run_at for name, stats in tasks.items()},
        metrics.TASK_RUNS: {name: stats.runs for name, stats in tasks.items()},
        metrics.TASK_ITEMS: {name: stats.items for name, stats in tasks.items()},
    }


async def read_store_metrics(runtime: Runtime) -> ServiceMetricValues:
    try:
        await check_marker(runtime.db, runtime.storage)
    except StoreNotConfirmed:
        return {metrics.STORE_UNCONFIRMED: {NO_LABEL: 1}}
    return {metrics.STORE_UNCONFIRMED: {NO_LABEL: 0}}
