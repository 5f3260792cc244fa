"""A GraphQL client of the service: upload, live progress, download. It uses only the public API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from gql_imgproc.enums import Priority, RequestStatus
from gql_imgproc.net.loopback import is_loopback
from gql_imgproc.standalone.errors import ServiceError, ServiceUnavailable

#: Deadlines in seconds: for one response, for a whole upload or download, for a handshake.
RESPONSE_S, TRANSFER_S, HANDSHAKE_S = 30.0, 600.0, 10.0
#: Close code of the WebSocket when the API key is invalid; `graphql.auth` defines it too, but takes long to import.
CLOSE_FORBIDDEN = 4403
#: How long the service may be unreachable while progress is watched, and the pause between two attempts, in seconds.
MAX_OUTAGE_S, RECONNECT_PAUSE_S = 60.0, 0.5

UPLOAD = """
mutation Upload($input: UploadCsvInput!) {
  uploadCsv(input: $input) {
    __typename
    ... on UploadCsvSuccess { request { id totalProducts totalImages } replayed }
    ... on UserError { message path }
    ... on CsvInvalid { totalErrors errors { row column code message } }
  }
}
"""
PROGRESS = """
subscription Progress($id: ID!) {
  requestProgress(id: $id) {
    status sequence totalImages processedImages failedImages cancelledImages keptImages
    inputBytes outputBytes imagesPerSecond createdAt completedAt outputCsvUrl failure { message }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Issue:
    """One problem in the CSV file."""

    row: int | None
    column: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CsvRejected:
    """The upload was refused. `total` includes the issues that are not listed."""

    message: str
    issues: tuple[Issue, ...]
    total: int


@dataclass(frozen=True, slots=True)
class AcceptedUpload:
    request_id: str
    products: int
    images: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a request at a point in time."""

    status: RequestStatus
    sequence: int
    total: int
    processed: int
    failed: int
    cancelled: int
    kept: int
    input_bytes: int
    output_bytes: int
    per_second: float | None
    output_csv_url: str | None
    failure: str | None

    @property
    def finished_images(self) -> int:
        return self.processed + self.failed + self.cancelled

    @classmethod
    def from_request(cls, request: dict[str, Any]) -> Self:
        return cls(
            status=RequestStatus(request["status"]),
            sequence=request["sequence"],
            total=request["totalImages"],
            processed=request["processedImages"],
            failed=request["failedImages"],
            cancelled=request["cancelledImages"],
            kept=request["keptImages"],
            input_bytes=request["inputBytes"],
            output_bytes=request["outputBytes"],
            per_second=request["imagesPerSecond"],
            output_csv_url=request["outputCsvUrl"],
            failure=request["failure"] and request["failure"]["message"],
        )


def normalize_base_url(url: str) -> httpx.URL:
    """Returns the base URL of the service, also for the URL of `/graphql`; raises ServiceError for an invalid URL."""
    try:
        base = httpx.URL(url.strip())
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.scheme not in ("http", "https") or not base.host or base.query or base.fragment:
        raise ServiceError(f"Invalid service URL {url}. Use a URL such as http://127.0.0.1:8000")
    return base.copy_with(path=base.path.rstrip("/").removesuffix("/graphql").rstrip("/") or "/")


class Client:
    """Calls the service at `url`, with an API key if there is one."""

    def __init__(self, url: str, key: str | None = None) -> None:
        base = normalize_base_url(url)
        self._credentials = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = str(base).rstrip("/")
        # A proxy from the environment cannot reach this machine.
        self._uses_proxy = not is_loopback(base.host)
        self._http = httpx.AsyncClient(timeout=RESPONSE_S, trust_env=self._uses_proxy)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def upload(
        self,
        file: BinaryIO,
        filename: str,
        webhook_url: str | None = None,
        priority: Priority = Priority.NORMAL,
    ) -> AcceptedUpload | CsvRejected:
        """Uploads a CSV file by the GraphQL multipart request specification."""
        variables = {"input": {"file": None, "webhookUrl": webhook_url, "priority": priority.value}}
        data = await self._post(
            TRANSFER_S,
            data={
                "operations": json.dumps({"query": UPLOAD, "variables": variables}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, file, "text/csv")},
            # The service requires this header: browsers cannot send it cross-origin without a preflight.
            headers={"GraphQL-Preflight": "1"},
        )
        try:
            return _upload_result(data["uploadCsv"])
        except (KeyError, TypeError, AttributeError):
            raise self._unexpected_response() from None

    async def query(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        return await self._post(RESPONSE_S, json={"query": document, "variables": variables})

    async def progress(self, request_id: str) -> AsyncGenerator[Progress]:
        """Yields states in ascending order until the final one; reconnects when the service restarts."""
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
            except (OSError, TimeoutError, WebSocketException, ServiceUnavailable) as error:
                if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == CLOSE_FORBIDDEN:
                    raise self._auth_error(error.rcvd.reason) from None
                outage_started = outage_started or time.monotonic()
                if time.monotonic() - outage_started > MAX_OUTAGE_S:
                    raise ServiceError(f"Lost the service at {self.url} for {MAX_OUTAGE_S:.0f} s: {error}") from None
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def download(self, url: str, target: Path) -> None:
        """Downloads `url` to `target`, which is written completely or not at all.

        Sends no API key: download URLs are signed, and may lead to another host.
        """
        partial = target.with_name(target.name + ".part")
        try:
            async with asyncio.timeout(TRANSFER_S), self._http.stream("GET", url, follow_redirects=True) as response:
                if not response.is_success:
                    raise ServiceError(f"{url} returned status {response.status_code}")
                with partial.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
            partial.replace(target)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceError(f"Cannot download {url}: {error or 'timed out'}") from None
        except OSError as error:
            raise ServiceError(f"Cannot write {target}: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)

    async def _post(self, seconds: float, headers: Mapping[str, str] | None = None, **content: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.post(
                    f"{self.url}/graphql", headers={**(headers or {}), **self._credentials}, **content
                )
        except httpx.ConnectError:
            raise ServiceError(
                f"Cannot connect to {self.url}. Start the service with `gql-imgproc up`, or correct --url"
            ) from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceError(f"No response from the service at {self.url}: {error or 'timed out'}") from None
        try:
            return self._data(response.json())
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._unexpected_response(f" with status {response.status_code}") from None

    def _unexpected_response(self, status: str = "") -> ServiceError:
        return ServiceError(
            f"The server at {self.url}/graphql{status} is not this service. "
            "Correct --url, for example http://127.0.0.1:8000"
        )

    async def _subscribe(self, request_id: str) -> AsyncGenerator[Progress]:
        """Yields progress from one WebSocket connection (protocol graphql-transport-ws)."""
        protocol = Subprotocol("graphql-transport-ws")
        url = f"ws{self.url.removeprefix('http')}/graphql"
        async with connect(
            url, subprotocols=[protocol], open_timeout=HANDSHAKE_S, proxy=True if self._uses_proxy else None
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": self._credentials}))
            async with asyncio.timeout(HANDSHAKE_S):
                while json.loads(await socket.recv())["type"] != "connection_ack":
                    pass
            payload = {"query": PROGRESS, "variables": {"id": request_id}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            # The library's pings detect a dead peer and close the connection.
            async for text in socket:
                message = json.loads(text)
                match message["type"]:
                    case "next":
                        yield Progress.from_request(self._data(message["payload"])["requestProgress"])
                    case "error":
                        self._data({"errors": message["payload"]})
                    case "complete":
                        return
                    case "ping":
                        await socket.send(json.dumps({"type": "pong"}))
            raise ConnectionResetError("the connection was closed")

    def _data(self, payload: dict[str, Any]) -> dict[str, Any]:
        errors = payload.get("errors")
        if not errors:
            return dict(payload["data"])
        codes = {error.get("extensions", {}).get("code") for error in errors}
        message = "; ".join(error["message"] for error in errors)
        if "UNAUTHENTICATED" in codes:
            raise self._auth_error(message)
        if "FORBIDDEN" in codes:
            raise ServiceError(f"Forbidden: {message} Set IMGPROC_API_KEY to a key with this scope")
        if "SERVICE_UNAVAILABLE" in codes:
            raise ServiceUnavailable(f"The service cannot do this now: {message}")
        raise ServiceError(f"The service refused the call: {message}")

    def _auth_error(self, message: str) -> ServiceError:
        if self._credentials:
            return ServiceError(f"The service at {self.url} rejected IMGPROC_API_KEY: {message}")
        return ServiceError(
            f"The service at {self.url} requires an API key. Set IMGPROC_API_KEY in the environment or in .env"
        )


def _upload_result(result: dict[str, Any]) -> AcceptedUpload | CsvRejected:
    if result["__typename"] == "UploadCsvSuccess":
        request = result["request"]
        return AcceptedUpload(request["id"], request["totalProducts"], request["totalImages"])
    issues = tuple(Issue(**issue) for issue in result.get("errors", ()))
    return CsvRejected(result["message"], issues, result.get("totalErrors", len(issues)))
