"""What must hold in every state, and of every step; each broken law has a name."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.machine import final_status, output_name
from tests.model.rules import ABANDON, DEADLINE, RETRY, WINDOW, Rules
from tests.model.state import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NEVER,
    PENDING,
    PROCESSING,
    PUBLISH,
    UNREADABLE,
    WITH_ERRORS,
    State,
    Step,
)

COUNTERS = "counters equal rows"
FINAL = "a final status is final"
ONE_RESULT = "an image gets one result"
OBJECTS = "a completed image's object is what was recorded"
DOWNLOAD = "who sees an end can download its output"
TRUTH = "an end, and its output, say what the rows say"
FENCE = "who lost a lease or a hold changes nothing"
OWN_RUN = "a result belongs to the run that produced it"
FEW = "messages are few"
ENDS = "it always ends"


def broken_by_state(state: State, rules: Rules) -> Iterator[str]:
    request, images = state.request, state.images
    rows = [image.status for image in images]
    products = [product.status for product in state.products]
    if (request.done, request.failed, request.cancelled, request.products_done, request.products_failed) != (
        rows.count(COMPLETED),
        rows.count(FAILED),
        rows.count(CANCELLED),
        products.count(COMPLETED),
        products.count(FAILED) + products.count(WITH_ERRORS),
    ):
        yield COUNTERS
    for number, product in enumerate(state.products[: request.ingested]):
        own = [rows[image] for image in rules.own(number)]
        if (product.done, product.failed, product.cancelled) != (
            own.count(COMPLETED),
            own.count(FAILED),
            own.count(CANCELLED),
        ) or not ((PENDING not in own) == (product.due == NEVER) == (product.status > PROCESSING)):
            yield COUNTERS
    for number, image in enumerate(images):
        if image.status == COMPLETED and (number, *image[1:]) not in state.objects:
            yield OBJECTS
    outputs = dict(state.outputs)
    if not request.open:
        if (request.output and request.output not in outputs) or (not request.output and request.status != UNREADABLE):
            yield DOWNLOAD
        elif (
            PENDING in rows
            or (request.output and sum(outputs[request.output], ()) != images)
            or request.status != (UNREADABLE if not request.output else final_status(request, rules))
        ):
            yield TRUTH
    for worker in state.workers:
        if worker.phase == PUBLISH and worker.pages and output_name(worker, rules) not in outputs:
            yield DOWNLOAD
    if too_many(state, rules):
        yield FEW


def too_many(state: State, rules: Rules) -> bool:
    """Whether there are more messages than the window, one from each worker, and the adversary's."""
    return max(state.messages) > WINDOW + rules.workers + rules.actions


def broken_by_step(before: State, step: Step) -> Iterator[str]:
    after = step.state
    if before.request is after.request and before.products is after.products and before.images is after.images:
        return
    if step.name == RETRY:
        return
    if not before.request.open and after.request != before.request:
        yield FINAL
    if before.images is not after.images:
        for image, then in zip(before.images, after.images, strict=True):
            if image.status > PENDING and then != image:
                yield ONE_RESULT
        if step.name.startswith("record"):
            runs = {worker.generation for worker in set(before.workers) - set(after.workers)}
            if runs != {after.request.generation}:
                yield OWN_RUN
    if step.stale and before[:3] != after[:3]:
        yield FENCE
    if step.name not in (ABANDON, DEADLINE) and after.request.generation != before.request.generation:
        yield FINAL
