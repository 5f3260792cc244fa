"""Every state that can be reached, breadth first, with what is wrong and the shortest way there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tests.model.adversary import actions
from tests.model.canonical import canonical
from tests.model.laws import ENDS, broken_by_state, broken_by_step, too_many
from tests.model.machine import steps
from tests.model.rules import Rules, accepted
from tests.model.state import State


@dataclass
class Exploration:
    states: int = 0
    transitions: int = 0
    #: By the law that is broken: the shortest way there, step by step.
    broken: dict[str, list[str]] = field(default_factory=dict)


def explore(rules: Rules, enough: Collection[str] = ()) -> Exploration:
    """Looks at all states, then asks of each whether it can still end.

    That every state can reach an end with the adversary quiet is that it does: there are finitely many states, so a
    run in which what can be done again and again is done at some time comes to one. When all laws of `enough` are known
    to be broken, no more are looked for.
    """
    start = accepted(rules)
    numbers: dict[State, int] = {start: 0}
    queue = [start]
    came: list[tuple[int, str]] = [(0, "")]
    # For each state those from which a step without the adversary leads to it.
    before: list[list[int]] = [[]]
    found = Exploration()

    def broken(law: str, at: int, last: str | None = None) -> None:
        if law not in found.broken:
            found.broken[law] = _way(came, at) + ([last] if last else [])

    for number, state in enumerate(queue):
        if enough and found.broken.keys() >= set(enough):
            found.states = len(queue)
            return found
        for law in broken_by_state(state, rules):
            broken(law, number)
        if too_many(state, rules):
            # It may continue without end.
            continue
        for quiet, following in ((True, steps(state, rules)), (False, actions(state, rules))):
            for step in following:
                found.transitions += 1
                # Most steps lead to a state that is known, as it is.
                after = numbers.get(step.state, -1)
                if after < 0:
                    fresh = canonical(step.state, rules)
                    after = numbers.setdefault(fresh, len(queue))
                    if after == len(queue):
                        queue.append(fresh)
                        came.append((number, step.name))
                        before.append([])
                if quiet:
                    before[after].append(number)
                for law in broken_by_step(state, step):
                    broken(law, number, step.name)
    found.states = len(queue)
    stuck = _cannot_end(queue, before)
    if stuck is not None:
        broken(ENDS, stuck)
    return found


def _cannot_end(states: list[State], before: list[list[int]]) -> int | None:
    """The first state from which no end can be reached."""
    can = [not state.request.open for state in states]
    found = [number for number, does in enumerate(can) if does]
    for number in found:
        for earlier in before[number]:
            if not can[earlier]:
                can[earlier] = True
                found.append(earlier)
    return next((number for number, does in enumerate(can) if not does), None)


def _way(came: list[tuple[int, str]], at: int) -> list[str]:
    names = []
    while at:
        at, name = came[at]
        names.append(name)
    return names[::-1]
