"""Everything that may go wrong, and the commands that may arrive at any moment; each costs the adversary one action."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.machine import is_stale, missing_work, more, needs_rows, settled, stepped
from tests.model.rules import (
    ABANDON,
    CRASH,
    DEADLINE,
    EXPIRE,
    FAIL_FOR_NOW,
    FLUSH,
    LOSE,
    LOSE_CSV,
    RETRY,
    STRAY,
    Rules,
)
from tests.model.state import (
    AGAIN,
    CANCELLED,
    CLAIMING,
    DO,
    FAILED,
    GO,
    HOLDING,
    IDLE,
    LATER,
    NOBODY,
    NOW,
    PAST_DEADLINE,
    PENDING,
    PROCESSING,
    TODO,
    WITH_ERRORS,
    Image,
    Messages,
    State,
    Step,
)


def actions(state: State, rules: Rules) -> Iterator[Step]:
    """Everything that the adversary may do next."""
    if not state.left:
        return
    spent = state._replace(left=state.left - 1)
    for kind in rules.kinds:
        for after in ACTIONS[kind](spent, rules):
            yield Step(kind, False, after)


def lose(state: State, rules: Rules) -> Iterator[State]:
    """Redis loses a message, or never got it: its sender died after the commit."""
    for place, count in enumerate(state.messages):
        if count:
            yield state._replace(messages=Messages(*_changed(state.messages, place, -1)))


def flush(state: State, rules: Rules) -> Iterator[State]:
    if any(state.messages):
        yield state._replace(messages=Messages())


def stray(state: State, rules: Rules) -> Iterator[State]:
    """A message is delivered twice, or long after it was answered."""
    for place in range(len(state.messages)):
        yield state._replace(messages=Messages(*_changed(state.messages, place, 1)))


def crash(state: State, rules: Rules) -> Iterator[State]:
    """A worker dies between two of its steps; its message is lost, and a stray message stands for its redelivery."""
    for number, worker in enumerate(state.workers):
        if worker.phase != IDLE:
            yield settled(state, number, NOBODY, {}, rules)


def expire(state: State, rules: Rules) -> Iterator[State]:
    """A lease or a hold runs out under a worker that lives, but sleeps or cannot reach the database."""
    for worker in state.workers:
        if is_stale(state, worker):
            continue
        if worker.phase in CLAIMING and state.products[worker.product].due == LATER:
            products = tuple(
                product._replace(due=NOW) if number == worker.product else product
                for number, product in enumerate(state.products)
            )
            yield state._replace(products=products)
        if worker.phase in HOLDING and state.request.open and state.request.held:
            yield state._replace(request=state.request._replace(held=False))


def fail_for_now(state: State, rules: Rules) -> Iterator[State]:
    """processing.product.ProductProcessor._retry_or_fail: an image cannot be downloaded now, and is retried."""
    for number, worker in enumerate(state.workers):
        if worker.phase == DO:
            for place, step in enumerate(worker.steps):
                if step == TODO:
                    yield settled(state, number, stepped(worker, place, AGAIN), {}, rules)


def lose_csv(state: State, rules: Rules) -> Iterator[State]:
    """The uploaded CSV is gone, or is not what was checked, from now on."""
    if state.csv:
        yield state._replace(csv=False)


def deadline(state: State, rules: Rules) -> Iterator[State]:
    """maintenance.reconcile._repair_request past the deadline: repository.transitions.mark_stopping, a next step."""
    request = state.request
    if request.open and request.stop == GO:
        calls = {}
        if not request.held:
            step = "ingest" if needs_rows(request, rules) else "finish"
            calls[step] = int(not getattr(state.messages, step))
        yield state._replace(request=request._replace(stop=PAST_DEADLINE), messages=more(state, **calls))


def abandon(state: State, rules: Rules) -> Iterator[State]:
    """requests.commands.cancel: repository.transitions.mark_stopping. A message stands for the finish by the API."""
    request = state.request
    if request.open and request.stop == GO:
        yield state._replace(request=request._replace(stop=CANCELLED), messages=more(state, finish=1))


def retry(state: State, rules: Rules) -> Iterator[State]:
    """requests.commands.retry_failed: repository.retry.start_retry, then requests.notify.enqueue_workers."""
    request = state.request
    if request.open:
        return
    again = (FAILED, CANCELLED) if request.status == PAST_DEADLINE else (FAILED,)
    chosen = [number for number, image in enumerate(state.images) if image.status in again]
    if not chosen:
        return
    products = list(state.products)
    for number, product in enumerate(products):
        own = [image for image in chosen if image in rules.own(number)]
        if own:
            failed = sum(state.images[image].status == FAILED for image in own)
            products[number] = product._replace(
                status=PENDING,
                failed=product.failed - failed,
                cancelled=product.cancelled - (len(own) - failed),
                due=NOW,
                token=product.token + 1,
            )
    failed = sum(state.images[image].status == FAILED for image in chosen)
    reopened = request._replace(
        status=PROCESSING,
        generation=request.generation + 1,
        stop=GO,
        failed=request.failed - failed,
        cancelled=request.cancelled - (len(chosen) - failed),
        products_failed=sum(product.status in (FAILED, WITH_ERRORS) for product in products),
        held=False,
        lease_token=request.lease_token + 1,
    )
    images = tuple(Image(PENDING) if number in chosen else row for number, row in enumerate(state.images))
    after = state._replace(request=reopened, products=tuple(products), images=images)
    yield after._replace(messages=more(after, work=missing_work(after)))


def _changed(counts: tuple[int, ...], place: int, by: int) -> tuple[int, ...]:
    return tuple(count + by * (number == place) for number, count in enumerate(counts))


ACTIONS = {
    LOSE: lose,
    FLUSH: flush,
    STRAY: stray,
    CRASH: crash,
    EXPIRE: expire,
    FAIL_FOR_NOW: fail_for_now,
    LOSE_CSV: lose_csv,
    DEADLINE: deadline,
    ABANDON: abandon,
    RETRY: retry,
}
