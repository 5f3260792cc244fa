"""What a run of the model is about: the request, what the adversary may do, and which safeguards are removed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.state import ABSENT, NOBODY, NOW, PENDING, Image, Messages, Product, Request, State

#: Actions of the adversary; the last three are orders that anybody may give.
LOSE, FLUSH, STRAY, CRASH, EXPIRE, FAIL_FOR_NOW, LOSE_CSV, DEADLINE, ABANDON, RETRY = (
    "lose a message",
    "flush all messages",
    "stray message",
    "crash",
    "time out under a living worker",
    "fail for now",
    "lose the CSV",
    "deadline",
    "cancel",
    "retry",
)
ACTIONS = frozenset((LOSE, FLUSH, STRAY, CRASH, EXPIRE, FAIL_FOR_NOW, LOSE_CSV, DEADLINE, ABANDON, RETRY))

#: Messages of one request that reconcile sends; more than there are products.
WINDOW = 4


@dataclass(frozen=True, slots=True)
class Rules:
    #: Images of each product.
    layout: tuple[int, ...] = (2, 1)
    #: Products that come with the request itself; the others are taken in later.
    first: int = 2
    #: Images that may turn out to be bad.
    bad: frozenset[int] = frozenset((0,))
    workers: int = 2
    #: How many actions the adversary has, and of which kinds.
    actions: int = 0
    kinds: frozenset[str] = ACTIONS

    # Safeguards; without any one of them the model must find something.
    sweep: bool = True
    lease_fence: bool = True
    hold_fence: bool = True
    #: Image row and counters change in one transaction.
    counted_with_the_row: bool = True
    #: "Am I the last?" is answered by the counter's RETURNING; else by counting rows.
    last_by_counter: bool = True
    output_first: bool = True
    #: A claim's or hold's token is part of the names of what is stored under it.
    fenced_names: bool = True
    #: A CSV that cannot be read stops a request that is being stopped for another reason, too.
    unreadable_overrules: bool = True
    #: Only who holds the request may stop it for its CSV.
    unreadable_fenced: bool = True
    #: A holder who found images pending looks again after its hold: whom they sent to finish was turned away by it.
    completion_noticed: bool = True
    #: Who has recorded its product's last image still has its lease.
    ended_is_not_lost: bool = True

    @property
    def total_images(self) -> int:
        return sum(self.layout)

    def own(self, product: int) -> range:
        """Indices of a product's images."""
        start = sum(self.layout[:product])
        return range(start, start + self.layout[product])


def accepted(rules: Rules) -> State:
    """As `requests.upload.accept_upload` leaves it: committed, and its wake-up calls sent."""
    products = tuple(Product(PENDING, NOW) if n < rules.first else Product() for n in range(len(rules.layout)))
    images = tuple(
        Image(PENDING if n < rules.first else ABSENT) for n in range(len(rules.layout)) for _ in rules.own(n)
    )
    return State(
        request=Request(ingested=rules.first),
        products=products,
        images=images,
        objects=(),
        outputs=(),
        workers=(NOBODY,) * rules.workers,
        messages=Messages(work=rules.first, ingest=int(rules.first < len(rules.layout))),
        csv=True,
        left=rules.actions,
    )
