"""The blocking client: each method runs the one of `AsyncClient` on an event loop of its own, in another thread."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import ExitStack, aclosing
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from gql_imgproc.client.async_client import AsyncClient

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    @wraps(method)
    def call(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = self._portal.call(partial(method, self._client, *args, **kwargs))
        return result

    return call


def _iterate(
    method: Callable[Concatenate[AsyncClient, P], AsyncGenerator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    @wraps(method)
    def iterate(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        values = method(self._client, *args, **kwargs)
        with self._portal.wrap_async_context_manager(aclosing(values)):
            while (value := self._portal.call(anext, values, None)) is not None:
                yield value

    return iterate


class Client:
    """`AsyncClient` for code without an event loop: the same methods, which block. Threads may share one client."""

    _portal: BlockingPortal

    def __init__(self, url: str, key: str | None = None) -> None:
        self._client = AsyncClient(url, key)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.enter_context(self._portal.wrap_async_context_manager(self._client))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    upload = _call(AsyncClient.upload)
    estimate = _call(AsyncClient.estimate)
    get = _call(AsyncClient.get)
    compare = _call(AsyncClient.compare)
    list = _iterate(AsyncClient.list)
    watch = _iterate(AsyncClient.watch)
    cancel = _call(AsyncClient.cancel)
    retry = _call(AsyncClient.retry)
    delete = _call(AsyncClient.delete)
    download = _call(AsyncClient.download)
    execute = _call(AsyncClient.execute)
