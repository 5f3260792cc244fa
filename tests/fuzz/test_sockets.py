"""Unusual WebSocket frames: the server responds, or closes the WebSocket with a code and a reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fuzz.asgi_client import TIMEOUT_S, FuzzServer
from tests.fuzz.documents import damaged_text, envelopes, json_values
from tests.fuzz.limits import fuzz_settings

#: Close code of an internal error.
INTERNAL_ERROR = 1011
TYPES = (
    "connection_init",
    "ping",
    "pong",
    "subscribe",
    "complete",
    "next",
    "error",
    "connection_ack",
    "start",
    "",
    "\0",
)
IDS = ("1", "2", "3", "4", "5", "6", "7", "8", "", "x" * 300, "\0")
INIT = json.dumps({"type": "connection_init"})
LAST = json.dumps({"id": "last", "type": "subscribe", "payload": {"query": "{ limits { maxImages } }"}})

subscribes = st.builds(
    lambda id, payload: {"id": id, "type": "subscribe", "payload": payload}, st.sampled_from(IDS), envelopes()
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | json_values,
        "id": st.sampled_from(IDS) | json_values,
        "payload": envelopes() | json_values,
    },
)
#: Messages that keep the WebSocket open, and messages that may close it.
valid = subscribes.map(json.dumps) | st.sampled_from(
    ['{"type": "ping"}', '{"type": "pong", "payload": {"a": 1}}', '{"type": "complete", "id": "1"}']
)
invalid: st.SearchStrategy[str | bytes] = st.one_of(
    messages.map(json.dumps),
    messages.map(json.dumps).flatmap(damaged_text),
    json_values.map(json.dumps),
    st.sampled_from(["", "{", "[" * 3_000, '"\\ud800"', '{"type": "ping", "payload": NaN}', "null", INIT]),
    st.binary(max_size=20),
)
frames = st.integers(0, 9).flatmap(lambda n: valid if n else invalid)


def encode_frame(frame: str | bytes) -> str | bytes:
    return frame if isinstance(frame, bytes) else frame.encode("utf-8", "replace").decode()


@pytest.mark.slow
@fuzz_settings(250, seconds=20)
@given(with_init=st.integers(0, 9).map(bool), sent=st.lists(frames, max_size=5))
def test_any_frames_are_answered_or_close_the_socket(
    fuzzed: FuzzServer, with_init: bool, sent: list[str | bytes]
) -> None:
    received: list[Any] = []
    with connect(
        f"ws://{fuzzed.host}/graphql",
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        open_timeout=TIMEOUT_S,
        close_timeout=TIMEOUT_S,
        max_size=None,
    ) as socket:
        # When any frames are sent,
        try:
            if with_init:
                socket.send(INIT)
            for frame in sent:
                socket.send(encode_frame(frame))
            # then the WebSocket still executes an operation,
            socket.send(LAST)
            while True:
                received.append(socket.recv(TIMEOUT_S))
                message = json.loads(received[-1])
                if message.get("id") == "last" and message["type"] in ("complete", "error"):
                    break
            assert message["type"] == "complete"
            event("alive")
        except ConnectionClosed as closed:
            # or is closed, but not for an internal error.
            assert closed.rcvd is not None
            assert closed.rcvd.code != INTERNAL_ERROR, closed.rcvd
            event(f"closed with {closed.rcvd.code}")
            fuzzed.assert_no_leak(closed.rcvd.reason)
    for text in received:
        fuzzed.assert_no_leak(text)
    fuzzed.assert_no_errors()
