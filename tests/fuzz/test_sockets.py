"""Frames that no client of `graphql-transport-ws` sends: the socket answers, or is closed with a reason of ours."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.fuzz.asgi_client import SILENCE_S, Door
from tests.fuzz.documents import envelopes, garbled, json_values
from tests.fuzz.limits import bounded

#: How a server says that it failed.
SERVER_FAULT = 1011
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
    lambda name, payload: {"id": name, "type": "subscribe", "payload": payload}, st.sampled_from(IDS), envelopes()
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | json_values,
        "id": st.sampled_from(IDS) | json_values,
        "payload": envelopes() | json_values,
    },
)
#: What a socket survives, and what it does not.
orderly = subscribes.map(json.dumps) | st.sampled_from(
    ['{"type": "ping"}', '{"type": "pong", "payload": {"a": 1}}', '{"type": "complete", "id": "1"}']
)
disorderly: st.SearchStrategy[str | bytes] = st.one_of(
    messages.map(json.dumps),
    messages.map(json.dumps).flatmap(garbled),
    json_values.map(json.dumps),
    st.sampled_from(["", "{", "[" * 3_000, '"\\ud800"', '{"type": "ping", "payload": NaN}', "null", INIT]),
    st.binary(max_size=20),
)
frames = st.integers(0, 9).flatmap(lambda n: orderly if n else disorderly)


def encodable(frame: str | bytes) -> str | bytes:
    return frame if isinstance(frame, bytes) else frame.encode("utf-8", "replace").decode()


@bounded(250, seconds=20)
@given(greeted=st.integers(0, 9).map(bool), sent=st.lists(frames, max_size=5))
def test_any_frames_are_answered_or_end_the_socket(door: Door, greeted: bool, sent: list[str | bytes]) -> None:
    told: list[Any] = []
    with connect(
        f"ws://{door.host}/graphql",
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        open_timeout=SILENCE_S,
        close_timeout=SILENCE_S,
        max_size=None,
    ) as socket:
        # When frames are sent, whatever is in them,
        try:
            if greeted:
                socket.send(INIT)
            for frame in sent:
                socket.send(encodable(frame))
            # then the socket still does what it is for,
            socket.send(LAST)
            while True:
                told.append(socket.recv(SILENCE_S))
                message = json.loads(told[-1])
                if message.get("id") == "last" and message["type"] in ("complete", "error"):
                    break
            assert message["type"] == "complete"
            event("alive")
        except ConnectionClosed as closed:
            # or is closed for what was sent, and not for a fault of the service.
            assert closed.rcvd is not None
            assert closed.rcvd.code != SERVER_FAULT, closed.rcvd
            event(f"closed with {closed.rcvd.code}")
            door.judge(closed.rcvd.reason)
    for text in told:
        door.judge(text)
    door.judge_log()
