"""The values of the model: one request, its rows, its objects, its messages, and the workers, as immutable tuples.

Numbers in place of enums: a million states are hashed, and an enum's hash is a call into Python.
"""

from __future__ import annotations

from typing import NamedTuple

#: States of images, products and requests. A request that FAILED has one of the last three, by its failure code.
PENDING, PROCESSING, COMPLETED, WITH_ERRORS, CANCELLED, FAILED, PAST_DEADLINE, UNREADABLE = range(8)
#: An image whose product is not taken in yet.
ABSENT = -1
#: No reason to stop; the reasons are CANCELLED, PAST_DEADLINE and UNREADABLE.
GO = 0
#: What `products.due_at` says: null, a moment that has come, a moment to come.
NEVER, NOW, LATER = range(3)

#: What a worker does next; see the functions of like names in machine.py.
(
    IDLE,
    LOOK,
    CLAIM,
    DO,
    GIVE_BACK,
    NEXT,
    HOLD,
    CANCEL,
    SEE,
    READ,
    STORE,
    END,
    LET_GO,
    GO_ON,
    PUBLISH,
    HOLD_INGEST,
    FETCH,
    INSERT,
    WAKE,
    STOP,
    TELL,
    STORE_LATE,
) = range(22)
#: Phases in which a product is claimed, and in which a request is held.
CLAIMING = frozenset((DO, GIVE_BACK))
HOLDING = frozenset((CANCEL, SEE, READ, STORE, END, LET_GO, FETCH, INSERT, WAKE, STOP))

#: How far a worker is with an image of its product; the last three are only reached under mutations.
TODO, STORED, DONE, AGAIN, LAST, UNCOUNTED, SAW_OTHERS, SAW_NONE = range(8)


class Request(NamedTuple):
    status: int = PENDING
    generation: int = 1
    stop: int = GO
    ingested: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    products_done: int = 0
    products_failed: int = 0
    held: bool = False
    lease_token: int = 0
    #: Token in the name of the output CSV; 0 when there is none.
    output: int = 0

    @property
    def open(self) -> bool:
        return self.status <= PROCESSING


class Product(NamedTuple):
    status: int = PENDING
    due: int = NEVER
    token: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class Image(NamedTuple):
    status: int = ABSENT
    #: Token in the object's name and, as its hash, the token of who wrote the bytes; 0 when there is none.
    name: int = 0
    sha: int = 0


class Worker(NamedTuple):
    phase: int = IDLE
    product: int = 0
    #: Of the claim or of the hold.
    token: int = 0
    #: Generation of the request when the claim or the hold was taken; the code does not know it.
    generation: int = 0
    #: How far each image of the product is.
    steps: tuple[int, ...] = ()
    #: Reason to stop that was seen, and the end that follows from it.
    stop: int = GO
    end: int = 0
    #: Whether images were pending when the hold was taken.
    pending: bool = False
    #: Images as they were read for the output CSV, page by page.
    pages: tuple[tuple[Image, ...], ...] = ()
    #: Phase after the hold is let go.
    after: int = IDLE


class Messages(NamedTuple):
    work: int = 0
    finish: int = 0
    ingest: int = 0


class State(NamedTuple):
    request: Request
    products: tuple[Product, ...]
    images: tuple[Image, ...]
    #: (image, name, who wrote it)
    objects: tuple[tuple[int, int, int], ...]
    #: (name, what it says)
    outputs: tuple[tuple[int, tuple[tuple[Image, ...], ...]], ...]
    workers: tuple[Worker, ...]
    messages: Messages
    #: Whether the uploaded CSV can be read.
    csv: bool
    #: Actions that the adversary may still do.
    left: int


class Step(NamedTuple):
    """A transition: what was done, whether by somebody whose claim or hold is not the newest, and the state then."""

    name: str
    stale: bool
    state: State


NOBODY = Worker()
