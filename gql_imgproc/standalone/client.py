"""A client of the service, as anybody could write it: upload, live progress, download."""

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
from gql_imgproc.errors import ImgprocError
from gql_imgproc.net.loopback import is_loopback

#: Deadlines in seconds: for one answer, for an upload or a download from first to last byte, for a handshake.
ANSWER_S, TRANSFER_S, HANDSHAKE_S = 30.0, 600.0, 10.0
#: Status with which the service closes the socket of a caller whose API key is not good.
CLOSE_FORBIDDEN = 4403
#: How long the service may be away while progress is watched, and the pause between two tries, in seconds.
AWAY_S, AGAIN_S = 60.0, 0.5

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


class ServiceError(ImgprocError):
    """The service did not do what it was asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong in the CSV file."""

    row: int | None
    column: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class CsvRejected:
    """The upload was refused; `total` counts the issues that are not listed too."""

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
    """The state of a request at one moment."""

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
    def ended(self) -> int:
        return self.processed + self.failed + self.cancelled

    @classmethod
    def of(cls, request: dict[str, Any]) -> Self:
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
    """The service's own address, also when that of its GraphQL was given; raises ServiceError when it is none."""
    try:
        address = httpx.URL(url.strip())
    except httpx.InvalidURL:
        address = httpx.URL("")
    if address.scheme not in ("http", "https") or not address.host or address.query or address.fragment:
        raise ServiceError(f"{url} is no address of a service. It looks like http://127.0.0.1:8000")
    return address.copy_with(path=address.path.rstrip("/").removesuffix("/graphql").rstrip("/") or "/")


class Client:
    """Talks GraphQL to the service at `url`, with an API key if there is one."""

    def __init__(self, url: str, key: str | None = None) -> None:
        base = normalize_base_url(url)
        self._credentials = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = str(base).rstrip("/")
        # A proxy of the environment is for the world outside; it cannot reach this machine.
        self._proxied = not is_loopback(base.host)
        self._http = httpx.AsyncClient(timeout=ANSWER_S, trust_env=self._proxied)

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
        """Sends a CSV file as the GraphQL multipart request specification has it."""
        variables = {"input": {"file": None, "webhookUrl": webhook_url, "priority": priority.value}}
        data = await self._post(
            TRANSFER_S,
            data={
                "operations": json.dumps({"query": UPLOAD, "variables": variables}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, file, "text/csv")},
            # Browsers cannot send this across origins unasked, so the service asks for it.
            headers={"GraphQL-Preflight": "1"},
        )
        try:
            return _outcome(data["uploadCsv"])
        except (KeyError, TypeError, AttributeError):
            raise self._no_service() from None

    async def query(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        return await self._post(ANSWER_S, json={"query": document, "variables": variables})

    async def progress(self, request_id: str) -> AsyncGenerator[Progress]:
        """States of a request that never go back, the last one final; survives restarts of the service."""
        sequence = -1
        away_since: float | None = None
        while True:
            try:
                async with aclosing(self._subscribe(request_id)) as states:
                    async for state in states:
                        away_since = None
                        if state.sequence > sequence:
                            sequence = state.sequence
                            yield state
                        if state.status.is_terminal:
                            return
                raise ServiceError("There is no such request, or it was deleted")
            except (OSError, TimeoutError, WebSocketException) as error:
                if isinstance(error, ConnectionClosed) and error.rcvd and error.rcvd.code == CLOSE_FORBIDDEN:
                    raise self._not_admitted(error.rcvd.reason) from None
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_S:
                    raise ServiceError(f"The service at {self.url} was lost for {AWAY_S:.0f} s: {error}") from None
                await asyncio.sleep(AGAIN_S)

    async def download(self, url: str, target: Path) -> None:
        """Saves what is at `url`; `target` is there as a whole or not at all.

        Without the key: the address that a caller with a key is given opens by itself, and may be another host's.
        """
        partial = target.with_name(target.name + ".part")
        try:
            async with asyncio.timeout(TRANSFER_S), self._http.stream("GET", url, follow_redirects=True) as response:
                if not response.is_success:
                    raise ServiceError(f"{url} answered {response.status_code}")
                with partial.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)
            partial.replace(target)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceError(f"{url} cannot be downloaded: {error or 'it took too long'}") from None
        except OSError as error:
            raise ServiceError(f"{target} cannot be written: {error.strerror}") from None
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
                f"Nothing answers at {self.url}. Start it with `gql-imgproc up`, or mend --url"
            ) from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise ServiceError(f"The service at {self.url} did not answer: {error or 'it took too long'}") from None
        try:
            answer = response.json()
            return self._data(answer)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._no_service(f" with status {response.status_code}") from None

    def _no_service(self, how: str = "") -> ServiceError:
        return ServiceError(
            f"What answers at {self.url}/graphql{how} is not this service. "
            "Mend --url: it looks like http://127.0.0.1:8000"
        )

    async def _subscribe(self, request_id: str) -> AsyncGenerator[Progress]:
        """One connection's worth of progress, by the protocol graphql-transport-ws."""
        protocol = Subprotocol("graphql-transport-ws")
        address = f"ws{self.url.removeprefix('http')}/graphql"
        async with connect(
            address, subprotocols=[protocol], open_timeout=HANDSHAKE_S, proxy=True if self._proxied else None
        ) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": self._credentials}))
            async with asyncio.timeout(HANDSHAKE_S):
                while json.loads(await socket.recv())["type"] != "connection_ack":
                    pass
            payload = {"query": PROGRESS, "variables": {"id": request_id}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            # The library's own pings end a connection whose other side is gone.
            async for text in socket:
                message = json.loads(text)
                match message["type"]:
                    case "next":
                        yield Progress.of(self._data(message["payload"])["requestProgress"])
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
        said = "; ".join(error["message"] for error in errors)
        if "UNAUTHENTICATED" in codes:
            raise self._not_admitted(said)
        if "FORBIDDEN" in codes:
            raise ServiceError(f"The service refuses: {said} Set IMGPROC_API_KEY to one that has it")
        raise ServiceError(f"The service refuses: {said}")

    def _not_admitted(self, said: str) -> ServiceError:
        if self._credentials:
            return ServiceError(f"The service at {self.url} does not admit IMGPROC_API_KEY: {said}")
        return ServiceError(
            f"The service at {self.url} asks for an API key. Set IMGPROC_API_KEY to one, in the environment or in .env"
        )


def _outcome(result: dict[str, Any]) -> AcceptedUpload | CsvRejected:
    if result["__typename"] == "UploadCsvSuccess":
        request = result["request"]
        return AcceptedUpload(request["id"], request["totalProducts"], request["totalImages"])
    issues = tuple(Issue(**issue) for issue in result.get("errors", ()))
    return CsvRejected(result["message"], issues, result.get("totalErrors", len(issues)))
