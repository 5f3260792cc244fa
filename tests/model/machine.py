"""The state machine in small: what the product does, at the granularity of its transactions and sends.

Each transition names the function that it mirrors, and its conditions are that function's WHERE clauses. A transaction
is one transition: on SQLite it is alone, and on PostgreSQL each locks the rows that it decides on before it decides.
`claim_product` is the exception, and has two: its first statement locks nothing.

What the model leaves out can do no more than what it has: a message that Dramatiq delivers again after a worker's
death, or that a sweep sends for what it saw a while ago, is a stray message of the adversary; a process that dies, or
that Redis does not hear, between a commit and the call that follows is a lost message; who is asleep is a worker that
makes no step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.model.rules import WINDOW, Rules
from tests.model.state import (
    AGAIN,
    CANCEL,
    CANCELLED,
    CLAIM,
    CLAIMING,
    COMPLETED,
    DO,
    DONE,
    END,
    FAILED,
    FETCH,
    GIVE_BACK,
    GO,
    GO_ON,
    HOLD,
    HOLD_INGEST,
    HOLDING,
    IDLE,
    INSERT,
    LAST,
    LATER,
    LET_GO,
    LOOK,
    NEVER,
    NEXT,
    NOBODY,
    NOW,
    PENDING,
    PROCESSING,
    PUBLISH,
    READ,
    SAW_NONE,
    SAW_OTHERS,
    SEE,
    STOP,
    STORE,
    STORE_LATE,
    STORED,
    TELL,
    TODO,
    UNCOUNTED,
    UNREADABLE,
    WAKE,
    WITH_ERRORS,
    Image,
    Product,
    Request,
    State,
    Step,
    Worker,
)


class Turn(NamedTuple):
    """What a worker does next: what that is called, the worker after it, and what else is changed."""

    name: str
    worker: Worker
    changes: dict[str, Any]


Turns = Iterator[Turn]


def steps(state: State, rules: Rules) -> Iterator[Step]:
    """All that may happen next while the adversary is quiet."""
    for number, worker in enumerate(state.workers):
        if number and worker == state.workers[number - 1]:
            continue
        for turn in TURNS[worker.phase](state, worker, rules):
            stale = is_stale(state, worker)
            yield Step(turn.name, stale, settled(state, number, turn.worker, turn.changes, rules))
    yield from time_passes(state)
    if rules.sweep:
        yield from sweep(state, rules)


def settled(state: State, number: int, worker: Worker, changes: dict[str, Any], rules: Rules) -> State:
    """The state after a worker's turn; workers have no names."""
    workers = (*state.workers[:number], worker, *state.workers[number + 1 :])
    return state._replace(workers=tuple(sorted(workers)), **changes)


def is_stale(state: State, worker: Worker) -> bool:
    """Whether another worker has the lease that this worker assumes to have."""
    if worker.phase in CLAIMING:
        return worker.token != state.products[worker.product].token
    return worker.phase in HOLDING and worker.token != state.request.lease_token


def output_name(worker: Worker, rules: Rules) -> int:
    return worker.token if rules.fenced_names else 1


# --- A worker without work takes a message: worker.actors.


def idle(state: State, worker: Worker, rules: Rules) -> Turns:
    messages = state.messages
    if messages.work:
        yield Turn("take work_on", Worker(LOOK), {"messages": messages._replace(work=messages.work - 1)})
    if messages.finish:
        yield Turn("take finish", Worker(HOLD), {"messages": messages._replace(finish=messages.finish - 1)})
    if messages.ingest:
        yield Turn("take ingest", Worker(HOLD_INGEST), {"messages": messages._replace(ingest=messages.ingest - 1)})


# --- Working on products: processing.worker_pool.


def look(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.claims.claim_product, `_OPEN`."""
    goes_on = state.request.open and state.request.stop == GO
    yield Turn("see that it is open", Worker(CLAIM) if goes_on else NOBODY, {})


def claim(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.claims.claim_product: `_CLAIM`, `_COUNT_ATTEMPTS`, `_START`. Due products have no order here."""
    none = True
    for number, product in enumerate(state.products):
        if product.due != NOW:
            continue
        none = False
        token = product.token + 1
        request = state.request
        if request.status == PENDING:
            request = request._replace(status=PROCESSING)
        todo = tuple(TODO if state.images[image].status == PENDING else DONE for image in rules.own(number))
        claimed = product._replace(status=PROCESSING, due=LATER, token=token)
        yield Turn(
            f"claim product {number}",
            Worker(DO, number, token, request.generation, todo),
            {"products": put(state.products, number, claimed), "request": request},
        )
    if none:
        yield Turn("nothing to claim", NOBODY, {})


def do(state: State, worker: Worker, rules: Rules) -> Turns:
    """processing.product.ProductProcessor: the images of a product side by side."""
    for place, image in enumerate(rules.own(worker.product)):
        step = worker.steps[place]
        if step == TODO:
            # processing.image.store
            name = worker.token if rules.fenced_names else 0
            others = (stored for stored in state.objects if stored[:2] != (image, name))
            objects = tuple(sorted((*others, (image, name, worker.token))))
            yield Turn(f"store object {image}", stepped(worker, place, STORED), {"objects": objects})
            if image in rules.bad:
                yield record(state, worker, place, FAILED, rules)
        elif step == STORED and rules.last_by_counter:
            yield record(state, worker, place, COMPLETED, rules)
        elif step == STORED:
            others_left = any(row.status == PENDING for n, row in enumerate(state.images) if n != image)
            yield Turn("count what is pending", stepped(worker, place, SAW_OTHERS if others_left else SAW_NONE), {})
        elif step in (SAW_OTHERS, SAW_NONE):
            yield record(state, worker, place, COMPLETED, rules)
        elif step == UNCOUNTED:
            request = counted(state.request, state.products[worker.product], state.images[image].status)
            last = ended(request) == rules.total_images
            yield Turn(f"count image {image}", stepped(worker, place, LAST if last else DONE), {"request": request})
        elif step == LAST:
            # processing.product.ProductProcessor._announce
            yield Turn("send finish", stepped(worker, place, DONE), {"messages": more(state, finish=1)})
    yield from renew_lease(state, worker, rules)


def renew_lease(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.claims.renew_lease, as requests.lease.renewing calls it, and ends the work where it is refused."""
    product = state.products[worker.product]
    mine = product.token == worker.token or not rules.lease_fence
    if not mine or (product.due == NEVER and not rules.ended_is_not_lost):
        yield Turn("lease lost", Worker(NEXT), {})
    elif product.due == NOW:
        extended = put(state.products, worker.product, product._replace(due=LATER))
        yield Turn("extend lease", worker, {"products": extended})


def record(state: State, worker: Worker, place: int, result: int, rules: Rules) -> Turn:
    """repository.claims.record_image: `_PRODUCT`, `_IMAGE`, `_REQUEST`; all or nothing."""
    image = rules.own(worker.product)[place]
    row, product, request = state.images[image], state.products[worker.product], state.request
    mine = product.token == worker.token or not rules.lease_fence
    going = request.status == PROCESSING and request.stop == GO
    if not (mine and product.due != NEVER and row.status == PENDING and going):
        # LeaseLost: the other images of the product are dropped too.
        return Turn("drop a result", Worker(NEXT), {})
    name = (worker.token if rules.fenced_names else 0) if result == COMPLETED else 0
    row = Image(result, name, worker.token if result == COMPLETED else 0)
    product = product._replace(done=product.done + (result == COMPLETED), failed=product.failed + (result == FAILED))
    product = with_status(product, rules.layout[worker.product])
    changes: dict[str, Any] = {
        "images": put(state.images, image, row),
        "products": put(state.products, worker.product, product),
    }
    if not rules.counted_with_the_row:
        return Turn(f"record image {image}", stepped(worker, place, UNCOUNTED), changes)
    request = counted(request, product, result)
    # Before it was recorded, others were looked for.
    last = ended(request) == rules.total_images if rules.last_by_counter else worker.steps[place] == SAW_NONE
    changes["request"] = request
    return Turn(f"record image {image}", stepped(worker, place, LAST if last else DONE), changes)


def with_status(product: Product, total: int) -> Product:
    """repository.claims, `_PRODUCT`: its CASE."""
    if product.done + product.failed + product.cancelled < total:
        return product._replace(status=PROCESSING)
    if product.cancelled:
        status = CANCELLED
    elif not product.failed:
        status = COMPLETED
    else:
        status = FAILED if product.failed == total else WITH_ERRORS
    return product._replace(status=status, due=NEVER)


def counted(request: Request, product: Product, result: int) -> Request:
    """repository.claims, `_REQUEST`: its SET."""
    return request._replace(
        done=request.done + (result == COMPLETED),
        failed=request.failed + (result == FAILED),
        products_done=request.products_done + (product.status == COMPLETED),
        products_failed=request.products_failed + (product.status in (FAILED, WITH_ERRORS)),
    )


def stepped(worker: Worker, place: int, step: int) -> Worker:
    """A worker that is further with an image; with the last one done it leaves the product."""
    progress = put(worker.steps, place, step)
    if all(step in (DONE, AGAIN) for step in progress):
        return worker._replace(phase=GIVE_BACK, steps=()) if AGAIN in progress else Worker(NEXT)
    return worker._replace(steps=progress)


def give_back(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.claims.release_product, with a delay. The timer that enqueues work afterwards is left out."""
    product, changes = state.products[worker.product], {}
    mine = product.token == worker.token or not rules.lease_fence
    if mine and product.due != NEVER:
        changes["products"] = put(state.products, worker.product, product._replace(due=LATER))
    yield Turn("release product", Worker(NEXT), changes)


def next_one(state: State, worker: Worker, rules: Rules) -> Turns:
    """processing.worker_pool._work_once: another product in this turn, or the next message."""
    yield Turn("continue the turn", Worker(LOOK), {})
    yield Turn("send work_on", NOBODY, {"messages": more(state, work=1)})
    # Its slot is beyond the share by now, for its tenant has opened other requests; those are left out.
    yield Turn("leave the line", NOBODY, {})


# --- Bringing a request to its end: requests.lifecycle.


def hold(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.acquire, then the first lines of requests.lifecycle._end."""
    request = state.request
    if not request.open or request.held:
        yield Turn("another holds it", NOBODY, {})
        return
    request = request._replace(held=True, lease_token=request.lease_token + 1)
    holder = Worker(token=request.lease_token, generation=request.generation, stop=request.stop)
    holder = holder._replace(pending=ended(request) < rules.total_images)
    if needs_rows(request, rules):
        holder = holder._replace(phase=LET_GO, after=GO_ON)
    elif request.stop != GO:
        holder = holder._replace(phase=CANCEL)
    elif holder.pending:
        holder = holder._replace(phase=LET_GO, after=GO_ON)
    else:
        holder = holder._replace(phase=READ, end=final_status(request, rules))
    yield Turn("hold to finish", holder, {"request": request})


def cancel(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.cancel_chunk, with chunks of one product."""
    request = state.request
    number = next((number for number, product in enumerate(state.products) if product.due != NEVER), None)
    if number is None:
        yield Turn("nothing left to cancel", worker._replace(phase=SEE), {})
    elif not is_mine(state, worker, rules) or request.stop == GO:
        yield Turn("hold lost", let_go(worker, IDLE), {})
    else:
        product = state.products[number]
        own = rules.own(number)
        pending = [image for image in own if state.images[image].status == PENDING]
        cancelled = product._replace(
            status=CANCELLED,
            due=NEVER,
            token=product.token + 1,
            cancelled=len(own) - product.done - product.failed,
        )
        yield Turn(
            f"cancel product {number}",
            worker,
            {
                "products": put(state.products, number, cancelled),
                "images": tuple(Image(CANCELLED) if n in pending else row for n, row in enumerate(state.images)),
                "request": request._replace(cancelled=request.cancelled + len(pending)),
            },
        )
    yield from extend_hold(state, worker, rules)


def see(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.lifecycle._now after what was pending is cancelled."""
    request = state.request
    seen = worker._replace(stop=request.stop, end=final_status(request, rules))
    # requests.lifecycle._store_output
    phase = END if request.stop == UNREADABLE else READ
    yield Turn("see what is to be ended", seen._replace(phase=phase), {})
    yield from extend_hold(state, worker, rules)


def read(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.lifecycle._store_output, before the output is stored: the CSV, then page by page the rows."""
    if not worker.pages and not state.csv:
        yield Turn("find no CSV", worker._replace(phase=END, end=UNREADABLE), {})
    else:
        page = tuple(state.images[image] for image in rules.own(len(worker.pages)))
        pages = (*worker.pages, page)
        complete = len(pages) == len(rules.layout)
        phase = READ if not complete else STORE if rules.output_first else END
        yield Turn("read results", worker._replace(pages=pages, phase=phase), {})
    yield from extend_hold(state, worker, rules)


def store(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.lifecycle._store_output: the output CSV, named after the hold."""
    name = output_name(worker, rules)
    others = (stored for stored in state.outputs if stored[0] != name)
    outputs = tuple(sorted((*others, (name, worker.pages))))
    phase = END if worker.phase == STORE else PUBLISH
    yield Turn("store output", worker._replace(phase=phase), {"outputs": outputs})
    if worker.phase == STORE:
        yield from extend_hold(state, worker, rules)


def end(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.finish."""
    request = state.request
    complete = request.ingested == len(rules.layout) and ended(request) == rules.total_images
    if is_mine(state, worker, rules) and request.stop == worker.stop and (complete or worker.end == UNREADABLE):
        name = 0 if worker.end == UNREADABLE or not worker.pages else output_name(worker, rules)
        final = request._replace(status=worker.end, output=name)
        phase = PUBLISH if rules.output_first or not name else STORE_LATE
        # What the hold's release does to a final request is nothing.
        yield Turn("end", worker._replace(phase=phase), {"request": final})
    else:
        yield Turn("not ended", let_go(worker, GO_ON), {})
    yield from extend_hold(state, worker, rules)


def publish(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.lifecycle.finish: the final state is published to watchers, who may download at once."""
    yield Turn("publish", NOBODY, {})


def release_hold(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.release, called by requests.lease.hold_request whatever happened."""
    changes = {"request": state.request._replace(held=False)} if is_mine(state, worker, rules) else {}
    follows = NOBODY if worker.after == IDLE else Worker(worker.after, stop=worker.stop, pending=worker.pending)
    yield Turn("release hold", follows, changes)


def go_on(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.lifecycle._take_next_step."""
    request = state.request
    changes = {}
    if needs_rows(request, rules):
        changes["messages"] = more(state, ingest=1)
    elif request.stop != worker.stop or (
        rules.completion_noticed and worker.pending != (ended(request) < rules.total_images)
    ):
        changes["messages"] = more(state, finish=1)
    yield Turn("take the next step", NOBODY, changes)


def final_status(request: Request, rules: Rules) -> int:
    """requests.lifecycle.final_status."""
    if request.stop != GO:
        return request.stop
    if request.cancelled:
        return CANCELLED
    if request.failed == rules.total_images:
        return FAILED
    return WITH_ERRORS if request.failed else COMPLETED


# --- Ingesting rows: requests.ingest.


def hold_to_ingest(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.acquire, then requests.ingest.ingest."""
    request = state.request
    if not request.open or request.held:
        yield Turn("another holds it", NOBODY, {})
        return
    request = request._replace(held=True, lease_token=request.lease_token + 1)
    holder = Worker(FETCH, request.ingested, request.lease_token, request.generation)
    if not needs_rows(request, rules):
        holder = let_go(holder, TELL)
    yield Turn("hold to ingest", holder, {"request": request})


def fetch(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.ingest._insert_chunk: the CSV is read, or cannot be."""
    yield Turn("fetch the CSV", worker._replace(phase=INSERT if state.csv else STOP), {})
    yield from extend_hold(state, worker, rules)


def insert(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.create.insert_chunk, with chunks of one product; `worker.product` is the chunk's start."""
    request, start = state.request, worker.product
    if is_mine(state, worker, rules) and request.ingested == start and start < len(rules.layout):
        own = rules.own(start)
        yield Turn(
            f"insert product {start}",
            worker._replace(phase=WAKE, product=start + 1),
            {
                "request": request._replace(ingested=start + 1, held=True),
                "products": put(state.products, start, Product(PENDING, NOW)),
                "images": tuple(Image(PENDING) if n in own else row for n, row in enumerate(state.images)),
            },
        )
    else:
        yield Turn("hold lost", let_go(worker, IDLE), {})
    yield from extend_hold(state, worker, rules)


def wake(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.notify.enqueue_workers; then the next chunk, or the end of the ingestion."""
    whole = worker.product == len(rules.layout)
    follows = let_go(worker, TELL) if whole else worker._replace(phase=INSERT)
    yield Turn("wake workers", follows, {"messages": more(state, work=missing_work(state))})
    yield from extend_hold(state, worker, rules)


def mark_unreadable(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.mark_unreadable."""
    request, changes = state.request, {}
    mine = request.open and (request.lease_token == worker.token or not rules.unreadable_fenced)
    if mine and request.stop != UNREADABLE and (request.stop == GO or rules.unreadable_overrules):
        changes["request"] = request._replace(stop=UNREADABLE)
    yield Turn("stop: the CSV is unreadable", let_go(worker, TELL), changes)
    yield from extend_hold(state, worker, rules)


def tell(state: State, worker: Worker, rules: Rules) -> Turns:
    """requests.ingest.ingest: its last line."""
    yield Turn("send finish", NOBODY, {"messages": more(state, finish=1)})


# --- What all of them share.


def is_mine(state: State, worker: Worker, rules: Rules) -> bool:
    """repository.transitions.lease_terms."""
    return state.request.open and (state.request.lease_token == worker.token or not rules.hold_fence)


def extend_hold(state: State, worker: Worker, rules: Rules) -> Turns:
    """repository.transitions.renew, as requests.lease.renewing calls it, and ends the work where it is refused."""
    if not is_mine(state, worker, rules):
        yield Turn("hold lost", let_go(worker, IDLE), {})
    elif not state.request.held:
        yield Turn("extend hold", worker, {"request": state.request._replace(held=True)})


def let_go(worker: Worker, after: int) -> Worker:
    return worker._replace(phase=LET_GO, product=0, pages=(), end=0, after=after)


def needs_rows(request: Request, rules: Rules) -> bool:
    """requests.snapshot.Snapshot.needs_rows."""
    return request.ingested < len(rules.layout) and request.stop != UNREADABLE


def ended(request: Request) -> int:
    """requests.snapshot.Snapshot.ended_images."""
    return request.done + request.failed + request.cancelled


def missing_work(state: State) -> int:
    """The number of messages that requests.notify.enqueue_workers sends."""
    claimable = sum(product.due == NOW for product in state.products)
    return max(0, min(claimable, WINDOW) - state.messages.work)


def more(state: State, work: int = 0, finish: int = 0, ingest: int = 0) -> Any:
    sent = state.messages
    return sent._replace(work=sent.work + work, finish=sent.finish + finish, ingest=sent.ingest + ingest)


def put(values: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*values[:place], value, *values[place + 1 :])


# --- Time, and the sweep.


def time_passes(state: State) -> Iterator[Step]:
    """Leases and holds of the dead run out, and pauses end. Under the living it is the adversary who lets them."""
    for number, product in enumerate(state.products):
        if product.due == LATER and not any(
            worker.phase in CLAIMING and worker.product == number and worker.token == product.token
            for worker in state.workers
        ):
            due = put(state.products, number, product._replace(due=NOW))
            yield Step(f"product {number} falls due", False, state._replace(products=due))
    request = state.request
    if (
        request.held
        and request.open
        and not any(worker.phase in HOLDING and worker.token == request.lease_token for worker in state.workers)
    ):
        yield Step("the hold runs out", False, state._replace(request=request._replace(held=False)))


def sweep(state: State, rules: Rules) -> Iterator[Step]:
    """maintenance.reconcile._repair_request, but for the deadline, which is the adversary's."""
    request = state.request
    if not request.open:
        return
    ends = request.stop != GO or ended(request) == rules.total_images
    sent: dict[str, int] = {}
    if not request.held and needs_rows(request, rules):
        sent["ingest"] = int(not state.messages.ingest)
    elif not request.held and ends:
        sent["finish"] = int(not state.messages.finish)
    if not ends:
        sent["work"] = missing_work(state)
    if any(sent.values()):
        yield Step("sweep", False, state._replace(messages=more(state, **sent)))


TURNS: tuple[Callable[[State, Worker, Rules], Turns], ...] = (
    idle,
    look,
    claim,
    do,
    give_back,
    next_one,
    hold,
    cancel,
    see,
    read,
    store,
    end,
    release_hold,
    go_on,
    publish,
    hold_to_ingest,
    fetch,
    insert,
    wake,
    mark_unreadable,
    tell,
    store,
)
