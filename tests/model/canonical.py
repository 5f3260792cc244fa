"""One state for all that differ in nothing that matters: what nobody can ask for any more, and how high tokens are.

Tokens are compared with each other and grow, nothing else; so those in use may be renumbered in their order.
"""

from __future__ import annotations

from tests.model.machine import output_name
from tests.model.rules import Rules
from tests.model.state import (
    CLAIMING,
    COMPLETED,
    DO,
    END,
    HOLDING,
    PUBLISH,
    SAW_NONE,
    SAW_OTHERS,
    STORE_LATE,
    STORED,
    Image,
    State,
)

Images = tuple[Image, ...]

_HOLD_TOKENS = HOLDING | {PUBLISH, STORE_LATE}
_OBJECT_STORED = (STORED, SAW_OTHERS, SAW_NONE)


def canonical(state: State, rules: Rules) -> State:
    if state.outputs:
        state = _without_unnamed_outputs(state, rules)
    if state.objects:
        state = _without_unnamed_objects(state, rules)
    state = _holds_numbered(state, rules)
    for number in range(len(state.products)):
        state = _claims_numbered(state, number, rules)
    return state


def _without_unnamed_outputs(state: State, rules: Rules) -> State:
    names = {output_name(worker, rules) for worker in state.workers if worker.phase in (END, PUBLISH)}
    names.add(state.request.output)
    if all(name in names for name, _ in state.outputs):
        return state
    return state._replace(outputs=tuple(stored for stored in state.outputs if stored[0] in names))


def _without_unnamed_objects(state: State, rules: Rules) -> State:
    names = {(number, image.name) for number, image in enumerate(state.images) if image.status == COMPLETED}
    for worker in state.workers:
        if worker.phase == DO:
            name = worker.token if rules.fenced_names else 0
            for image, step in zip(rules.own(worker.product), worker.steps, strict=True):
                if step in _OBJECT_STORED:
                    names.add((image, name))
    if all(stored[:2] in names for stored in state.objects):
        return state
    return state._replace(objects=tuple(stored for stored in state.objects if stored[:2] in names))


def _holds_numbered(state: State, rules: Rules) -> State:
    request = state.request
    used = {worker.token for worker in state.workers if worker.phase in _HOLD_TOKENS}
    used.add(request.lease_token)
    if rules.fenced_names:
        used.add(request.output)
        used.update(name for name, _ in state.outputs)
    used.discard(0)
    if len(used) == request.lease_token:
        return state
    new = {token: number for number, token in enumerate(sorted(used), 1)} | {0: 0}
    outputs, output = state.outputs, request.output
    if rules.fenced_names:
        outputs = tuple((new[name], content) for name, content in outputs)
        output = new[output]
    workers = tuple(
        worker._replace(token=new[worker.token]) if worker.phase in _HOLD_TOKENS else worker for worker in state.workers
    )
    return state._replace(
        request=request._replace(lease_token=new[request.lease_token], output=output),
        outputs=outputs,
        workers=tuple(sorted(workers)),
    )


def _claims_numbered(state: State, number: int, rules: Rules) -> State:
    product = state.products[number]
    own = rules.own(number)
    used = {worker.token for worker in state.workers if worker.phase in CLAIMING and worker.product == number}
    used.add(product.token)
    for image in own:
        used.add(state.images[image].sha)
    for image, _, writer in state.objects:
        if image in own:
            used.add(writer)
    for _, pages in state.outputs:
        used.update(image.sha for image in pages[number])
    for worker in state.workers:
        if len(worker.pages) > number:
            used.update(image.sha for image in worker.pages[number])
    used.discard(0)
    if len(used) == product.token:
        return state
    new = {token: rank for rank, token in enumerate(sorted(used), 1)} | {0: 0}

    def name_of(token: int) -> int:
        return new[token] if rules.fenced_names else token

    def renamed(images: Images) -> Images:
        return tuple(image._replace(name=name_of(image.name), sha=new[image.sha]) for image in images)

    def paged(pages: tuple[Images, ...]) -> tuple[Images, ...]:
        if len(pages) <= number:
            return pages
        return (*pages[:number], renamed(pages[number]), *pages[number + 1 :])

    workers = []
    for worker in state.workers:
        if worker.phase in CLAIMING and worker.product == number:
            worker = worker._replace(token=new[worker.token])
        elif worker.pages:
            worker = worker._replace(pages=paged(worker.pages))
        workers.append(worker)
    first, last = own.start, own.stop
    return state._replace(
        products=(*state.products[:number], product._replace(token=new[product.token]), *state.products[number + 1 :]),
        images=(*state.images[:first], *renamed(state.images[first:last]), *state.images[last:]),
        objects=tuple(
            (image, name_of(name), new[writer]) if image in own else (image, name, writer)
            for image, name, writer in state.objects
        ),
        outputs=tuple((name, paged(pages)) for name, pages in state.outputs),
        workers=tuple(sorted(workers)),
    )
