"""Calls of client commands to a service."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from gql_imgproc.client import AsyncClient, Request

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
#: Exit status after Ctrl-C.
INTERRUPTED = 130
#: Time in which a second Ctrl-C asks whether to cancel the request, in seconds.
SECOND_INTERRUPT_S = 3.0

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """The service that a command calls. The API key is no option: all users of a machine can see command lines."""

    url: Annotated[str, typer.Option(help="URL of the service.")] = DEFAULT_URL

    def run(self, work: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
        """Runs `work` with a client that has the API key of the settings."""
        import asyncio

        from gql_imgproc.client import AsyncClient
        from gql_imgproc.settings import load

        api_key = load().api_key

        async def run_with_client() -> T:
            async with AsyncClient(self.url, api_key.get_secret_value() if api_key else None) as client:
                return await work(client)

        try:
            return asyncio.run(run_with_client())
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    def follow(self, work: Callable[[AsyncClient], Coroutine[Any, Any, Request]], *, yes: bool) -> Request:
        """Runs `work`, which follows a request. After Ctrl-C the request continues, unless a second one cancels it."""
        from gql_imgproc.standalone.submit import Detached

        try:
            return self.run(work)
        except Detached as detached:
            request_id = detached.request_id
        option = "" if self.url == DEFAULT_URL else f" --url {self.url}"
        typer.echo(f"The request continues. Come back with: gql-imgproc watch {request_id}{option}", err=True)
        can_ask = yes or sys.stdin.isatty()
        try:
            if can_ask:
                typer.echo("Press Ctrl-C again to cancel it", err=True)
                time.sleep(SECOND_INTERRUPT_S)
        except KeyboardInterrupt:
            if yes or typer.confirm("Cancel the request?", err=True):
                self.run(lambda client: client.cancel(request_id))
                typer.echo("The request is cancelled", err=True)
        raise typer.Exit(INTERRUPTED)
