"""The asynchronous client. It uses only the public GraphQL API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import uuid4

import httpx

from gql_imgproc.client import documents
from gql_imgproc.client.errors import InvalidServiceUrl, ServiceError, ServiceUnavailable
from gql_imgproc.client.request import (
    Estimate,
    Request,
    parse_changes,
    parse_estimate,
)
from gql_imgproc.client.responses import ResponseReader
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy, Priority, RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net.loopback import is_loopback

#: Deadlines in seconds: for one response, or for the next event or heartbeat of a stream; for an upload or download.
RESPONSE_S, TRANSFER_S = 30.0, 600.0
#: How long the service may be unavailable for an upload, or unreachable while a request is watched, and the pause
#: between two attempts to watch, in seconds.
MAX_OUTAGE_S, RECONNECT_PAUSE_S = 60.0, 0.5
SSE = "text/event-stream"


def normalize_base_url(url: str) -> httpx.URL:
    """Returns the base URL of the service, also for the URL of `/graphql`; raises InvalidServiceUrl."""
    try:
        base = httpx.URL(url.strip())
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
        raise InvalidServiceUrl(url)
    return base.copy_with(path=base.path.rstrip("/").removesuffix("/graphql").rstrip("/") or "/")


class AsyncClient:
    """Calls the service at `url`, with an API key if it requires one. Every method may raise ServiceError."""

    def __init__(self, url: str, key: str | None = None) -> None:
        base = normalize_base_url(url)
        self._credentials = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = str(base).rstrip("/")
        self._read = ResponseReader(self.url, has_key=bool(key))
        # A proxy from the environment cannot reach this machine.
        self._http = httpx.AsyncClient(timeout=RESPONSE_S, trust_env=not is_loopback(base.host))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def upload(
        self,
        file: str | Path | BinaryIO,
        filename: str | None = None,
        *,
        webhook_url: str | None = None,
        priority: Priority = Priority.NORMAL,
        options: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        profile: CsvProfile | None = None,
        columns: Mapping[str, object] | None = None,
        on_invalid_row: InvalidRowPolicy | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
        refresh: bool = False,
    ) -> Request:
        """Uploads a CSV file or a workbook; raises UserError when it is refused.

        `options` is a `ProcessingOptionsInput`, `columns` a `CsvColumnsInput`; both are mappings.

        Within 24 hours, the same upload with the same `idempotency_key` returns the same request, so an upload without
        an answer can be repeated. While the service is unavailable, this method repeats the upload with one key, for a
        minute.
        """
        variables = {
            "file": None,
            "webhookUrl": webhook_url,
            "priority": priority,
            "options": options,
            "idempotencyKey": idempotency_key or uuid4().hex,
            "profile": profile,
            "columns": columns,
            "onInvalidRow": on_invalid_row,
            "encoding": encoding,
            "sheet": sheet,
            "refresh": refresh,
        }
        ends_at = time.monotonic() + MAX_OUTAGE_S
        with _open(file, filename) as (content, name):
            while True:
                try:
                    return self._read.request(await self._send_file(documents.UPLOAD, variables, name, content))
                except ServiceUnavailable as error:
                    is_last = time.monotonic() + error.retry_after_s > ends_at
                    if not error.retry_after_s or is_last or not content.seekable():
                        raise
                    await asyncio.sleep(error.retry_after_s)
                    content.seek(0)

    async def estimate(
        self,
        file: str | Path | BinaryIO,
        filename: str | None = None,
        *,
        options: Mapping[str, object] | None = None,
        profile: CsvProfile | None = None,
        columns: Mapping[str, object] | None = None,
        on_invalid_row: InvalidRowPolicy | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
    ) -> Estimate:
        """Measures a sample of the images of a file, without an upload; raises UserError when the file is refused."""
        variables = {
            "file": None,
            "options": options,
            "profile": profile,
            "columns": columns,
            "onInvalidRow": on_invalid_row,
            "encoding": encoding,
            "sheet": sheet,
        }
        with _open(file, filename) as (content, name):
            result = self._read.result(await self._send_file(documents.ESTIMATE, variables, name, content))
        return self._read.parse(parse_estimate, result)

    async def _send_file(
        self, document: str, variables: Mapping[str, object], filename: str, content: BinaryIO
    ) -> dict[str, Any]:
        return await self._post(
            TRANSFER_S,
            data={
                "operations": json.dumps({"query": document, "variables": {"input": variables}}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, content, "text/csv")},
            # The service requires this header: browsers cannot send it cross-origin without a preflight.
            headers={"GraphQL-Preflight": "1"},
        )

    async def get(self, request_id: str) -> Request:
        """Reads the state of a request."""
        data = await self.execute(documents.GET, {"id": request_id})
        if data == {"request": None}:
            raise ServiceError("Request not found. It may have been deleted")
        return self._read.request(data)

    async def compare(self, request: Request) -> Request:
        """Adds the `changes` since an earlier request. They stay None if there is none, or if this one is not final."""
        found = (await self.execute(documents.CHANGES, {"id": request.id})).get("request") or {}
        return replace(request, changes=self._read.parse(parse_changes, found.get("changes")))

    async def list(self, status: RequestStatus | None = None) -> AsyncGenerator[Request]:
        """Yields all requests, the newest first; those with `status` if it is specified."""
        cursor: str | None = None
        while True:
            page = (await self.execute(documents.LIST, {"status": status, "after": cursor}))["requests"]
            for edge in page["edges"]:
                yield self._read.request({"request": edge["node"]})
            if not page["pageInfo"]["hasNextPage"]:
                return
            cursor = page["pageInfo"]["endCursor"]

    async def watch(self, request_id: str) -> AsyncGenerator[Request]:
        """Yields states of a request in ascending order until the final one; reconnects when the service restarts."""
        sequence = -1
        outage_started: float | None = None
        while True:
            try:
                async with aclosing(self._subscribe(request_id)) as states:
                    async for state in states:
                        outage_started = None
                        if state.sequence > sequence:
                            sequence = state.sequence
                            yield state
                        if state.status.is_terminal:
                            return
                raise ServiceError("Request not found. It may have been deleted")
            except (httpx.HTTPError, ServiceUnavailable) as error:
                outage_started = outage_started or time.monotonic()
                if time.monotonic() - outage_started > MAX_OUTAGE_S:
                    message = f"Lost the service at {self.url} for {MAX_OUTAGE_S:.0f} s: {error}"
                    raise ServiceUnavailable(message) from None
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def cancel(self, request_id: str) -> Request:
        """Cancels a request. Images in progress may still finish."""
        return self._read.request(await self.execute(documents.CANCEL, {"input": {"id": request_id}}))

    async def retry(
        self, request_id: str, error_code: ImageErrorCode | None = None, host: str | None = None
    ) -> Request:
        """Retries the failed images of a request that has finished, or only those with this error and of this host,
        such as `cdn.example:443`.
        """
        chosen = {"errorCode": error_code, "host": host}
        input = {"id": request_id} | {name: value for name, value in chosen.items() if value is not None}
        return self._read.request(await self.execute(documents.RETRY, {"input": input}))

    async def delete(self, request_id: str) -> None:
        """Deletes a request that has finished, its files, and the images that no other request uses."""
        self._read.result(await self.execute(documents.DELETE, {"input": {"id": request_id}}))

    async def download(self, source: Request | str, target: str | Path) -> None:
        """Downloads the output CSV of a finished request, or a URL that the service returned.

        `target` is written completely or not at all. The output of a workbook is a workbook, or a CSV file if `target`
        ends with `.csv`. Sends no API key: such URLs are signed, and may lead to another host.
        """
        if isinstance(source, Request):
            if source.output_csv_url is None:
                reason = source.failure.message if source.failure else f"Its status is {source.status.value}"
                raise ServiceError(f"The request has no output CSV. {reason}")
            url = httpx.URL(source.output_csv_url)
            source = str(url.copy_merge_params({"format": "csv"}) if Path(target).suffix == ".csv" else url)
        target = Path(target)
        partial = target.with_name(target.name + ".part")
        try:
            async with asyncio.timeout(TRANSFER_S), self._http.stream("GET", source, follow_redirects=True) as response:
                if not response.is_success:
                    raise ServiceError(f"{source} returned status {response.status_code}")
                with partial.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
            partial.replace(target)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceError(f"Cannot download {source}: {error or 'timed out'}") from None
        except OSError as error:
            raise ServiceError(f"Cannot write {target}: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)

    async def execute(self, document: str, variables: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Executes a query or mutation of your own, and returns its `data`."""
        return await self._post(RESPONSE_S, json={"query": document, "variables": variables})

    async def _post(self, seconds: float, headers: Mapping[str, str] | None = None, **content: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.post(
                    f"{self.url}/graphql", headers={**(headers or {}), **self._credentials}, **content
                )
        except httpx.ConnectError:
            raise ServiceUnavailable(
                f"Cannot connect to {self.url}. Start the service with `gql-imgproc up`, or correct the URL"
            ) from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceUnavailable(f"No response from the service at {self.url}: {error or 'timed out'}") from None
        return self._read.body(response)

    async def _subscribe(self, request_id: str) -> AsyncGenerator[Request]:
        """Yields the states of one connection (server-sent events, distinct connections mode)."""
        body = {"query": documents.WATCH, "variables": {"id": request_id}}
        headers = {"Accept": SSE, **self._credentials}
        async with self._http.stream("POST", f"{self.url}/graphql", json=body, headers=headers) as response:
            if not response.headers.get("content-type", "").startswith(SSE):
                await response.aread()
                self._read.body(response)
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    yield self._read.request(self._read.data(json.loads(line.removeprefix("data: "))))
                elif line == "event: complete":
                    return
        raise ServiceUnavailable("the connection was closed")


@contextmanager
def _open(file: str | Path | BinaryIO, filename: str | None) -> Iterator[tuple[BinaryIO, str]]:
    """The content of a file, and the name to upload it with."""
    if not isinstance(file, str | Path):
        yield file, filename or "products.csv"
        return
    try:
        content = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise ServiceError(f"Cannot read the file {file}: {error.strerror}") from None
    with content:
        yield content, filename or Path(file).name
