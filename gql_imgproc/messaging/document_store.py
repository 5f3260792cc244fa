"""GraphQL documents in Redis, by their SHA-256, for automatic persisted queries."""

from __future__ import annotations

import time

from gql_imgproc.messaging import outage
from gql_imgproc.messaging.queue import connect

#: Documents of all processes together. They have up to 50,000 characters, so they need at most 50 MB in one alphabet.
MAX_DOCUMENTS = 1_000
#: Time after its last use at which a document is dropped, in seconds: 30 days.
TTL_S = 30 * 86_400
_INDEX = "graphql:documents"


def _key(sha256: str) -> str:
    return f"graphql:document:{sha256}"


class DocumentStore:
    """Keeps the documents that were stored last. Methods block and raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url, outage.TIMEOUT_S, decode_responses=True)

    def get(self, sha256: str) -> str | None:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(_key(sha256))
            pipe.expire(_key(sha256), TTL_S)
            document: str | None = pipe.execute()[0]
        return document

    def put(self, sha256: str, document: str) -> None:
        with self._redis.pipeline() as pipe:
            pipe.set(_key(sha256), document, ex=TTL_S)
            pipe.zadd(_INDEX, {sha256: time.time()})
            pipe.zrange(_INDEX, 0, -MAX_DOCUMENTS - 1)
            *_, oldest = pipe.execute()
            if oldest:
                pipe.delete(*map(_key, oldest))
                pipe.zrem(_INDEX, *oldest)
                pipe.execute()

    def close(self) -> None:
        self._redis.close()
