"""Automatic persisted queries, and the documents that an operator trusts.

https://www.apollographql.com/docs/apollo-server/performance/apq#how-it-works
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from graphql import GraphQLError

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.graphql.documents import Operation, parse_operation
from gql_imgproc.graphql.errors import Code, bad_input, coded_error
from gql_imgproc.graphql.request_body import PERSISTED_QUERY, OperationFields
from gql_imgproc.messaging.outage import UNAVAILABLE, Outage
from gql_imgproc.runtime import Runtime


class PersistedQueries:
    """Finds the documents of operations that have a hash in their place.

    With `trusted` documents, by their SHA-256 and other IDs, no other document is executed.
    """

    def __init__(self, runtime: Runtime, trusted: Mapping[str, str] | None = None) -> None:
        self._runtime = runtime
        self._trusted = trusted
        self._outage = Outage("persisted queries")

    async def parse(self, fields: OperationFields) -> Operation:
        """The operation with its document; stores a document that the client sent with its hash."""
        try:
            sha256 = _hash_of(fields)
            query = await self._find(fields.query, sha256)
        except GraphQLError as error:
            return Operation(fields.query, fields.variables, fields.name, error=error)
        operation = parse_operation(query, fields.variables, fields.name)
        if sha256 and fields.query and self._trusted is None and operation.error is None:
            await self._store(sha256, query)
        return operation

    async def _find(self, query: str, sha256: str | None) -> str:
        if self._trusted is not None:
            trusted = self._trusted.get(sha256 or _sha256(query))
            if trusted is None:
                raise coded_error(Code.UNTRUSTED_DOCUMENT, "This server only executes trusted documents.")
            return trusted
        if sha256 is None:
            return query
        if not re.fullmatch("[0-9a-f]{64}", sha256) or (query and _sha256(query) != sha256):
            raise bad_input("`extensions.persistedQuery.sha256Hash` must be the SHA-256 of `query` in lower-case hex.")
        return query or await self._load(sha256)

    async def _load(self, sha256: str) -> str:
        found = None
        with suppress(*UNAVAILABLE):
            async with self._outage.guard():
                found = await self._runtime.run_blocking(self._runtime.documents.get, sha256)
        if found is None:
            # The client then sends the document too. It recognizes this message.
            raise coded_error(Code.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return found

    async def _store(self, sha256: str, query: str) -> None:
        with suppress(*UNAVAILABLE):
            async with self._outage.guard():
                await self._runtime.run_blocking(self._runtime.documents.put, sha256, query)


def load_trusted_documents(path: Path | None) -> dict[str, str] | None:
    """The documents of a file, by the IDs in the file and by their SHA-256. Raises ConfigurationError."""
    if path is None:
        return None
    try:
        documents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"IMGPROC_TRUSTED_DOCUMENTS: {path} cannot be read as JSON: {error}") from None
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise ConfigurationError(f"IMGPROC_TRUSTED_DOCUMENTS: {path} must be a JSON object of IDs and documents")
    return documents | {_sha256(text): text for text in documents.values()}


def _hash_of(fields: OperationFields) -> str | None:
    match fields.extensions.get(PERSISTED_QUERY):
        case None:
            return None
        case {"version": 1, "sha256Hash": str(sha256)}:
            return sha256
    raise bad_input("`extensions.persistedQuery` must be an object with `version: 1` and a string `sha256Hash`.")


def _sha256(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()
