"""Jobs and results of estimates in Redis: a worker measures the sample of an upload while its caller waits."""

from __future__ import annotations

import math
from uuid import UUID

from gql_imgproc.messaging.queue import connect

#: Timeout of a call, in seconds; a caller waits for it.
TIMEOUT_S = 2.0


class EstimateStore:
    """Methods block and raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, TIMEOUT_S, decode_responses=True)

    def begin(self, tenant_id: UUID, max_seconds: float) -> bool:
        """Whether the tenant has no other estimate in progress. Call `end` afterwards."""
        return bool(self._redis.set(_tenant_key(tenant_id), "1", nx=True, px=int(1000 * max_seconds)))

    def end(self, tenant_id: UUID) -> None:
        self._redis.delete(_tenant_key(tenant_id))

    def put(self, kind: str, id: UUID, text: str, seconds: float) -> None:
        """Keeps a text for so long."""
        self._redis.set(_key(kind, id), text, px=math.ceil(1000 * seconds))

    def take(self, kind: str, id: UUID) -> str | None:
        """Returns a text once. A job that crashed its worker is not measured again."""
        text: str | None = self._redis.getdel(_key(kind, id))  # type: ignore[assignment]  # a blocking client
        return text

    def close(self) -> None:
        self._redis.close()


def _key(kind: str, id: UUID) -> str:
    return f"imgproc:estimate:{kind}:{id.hex}"


def _tenant_key(tenant_id: UUID) -> str:
    return f"imgproc:estimate:tenant:{tenant_id.hex}"
