"""Every state of a small request, with everything that can go wrong (promises P1, P2, P3, P4).

The first tests say that the laws hold. The others take one safeguard away each and say which laws are broken then: a
model that finds nothing without them would prove nothing with them.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.model.exploration import explore
from tests.model.laws import COUNTERS, DOWNLOAD, ENDS, FENCE, FEW, OBJECTS, OWN_RUN, TRUTH
from tests.model.rules import ABANDON, CRASH, EXPIRE, LOSE, LOSE_CSV, RETRY, Rules

#: Runs in which all laws are looked at, and how many states they have at least: what goes wrong once with three
#: images, two or three times with two, twice while rows are taken in. Almost 300,000 in all. `Rules(layout=(1, 1),
#: actions=2)`, anything twice, has 303,873 alone and breaks no law either; it is left out for the time it takes.
RUNS = {
    "anything once": (Rules(layout=(2, 1), actions=1), 60_000),
    "sleepers and retries, three times": (Rules(layout=(1, 1), actions=3, kinds=frozenset((EXPIRE, RETRY))), 70_000),
    "crashes and orders": (Rules(layout=(1, 1), actions=2, kinds=frozenset((CRASH, ABANDON, RETRY))), 55_000),
    "anything twice while rows are taken in": (Rules(layout=(1, 1), first=1, workers=1, actions=2), 80_000),
}
SMALL = Rules(layout=(1, 1))
INGESTED = replace(SMALL, first=1)


# Five seconds each on an idle machine.
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", RUNS)
def test_no_law_is_broken_in_any_state(name: str) -> None:
    rules, at_least = RUNS[name]

    found = explore(rules)

    assert found.broken == {}
    assert found.states >= at_least


@pytest.mark.parametrize("rules", [replace(SMALL, layout=(2, 1)), INGESTED])
def test_where_nothing_goes_wrong_no_sweep_is_needed(rules: Rules) -> None:
    assert explore(replace(rules, sweep=False)).broken == {}


MUTATIONS: dict[str, tuple[Rules, set[str]]] = {
    "no lease fence": (
        replace(SMALL, lease_fence=False, actions=2, kinds=frozenset((EXPIRE, RETRY))),
        {FENCE, OWN_RUN},
    ),
    "no hold fence": (
        replace(SMALL, hold_fence=False, actions=2, kinds=frozenset((EXPIRE, RETRY))),
        {FENCE, TRUTH},
    ),
    "names without tokens": (
        replace(SMALL, fenced_names=False, actions=1, kinds=frozenset((EXPIRE,))),
        {OBJECTS},
    ),
    "counters in a transaction of their own": (replace(SMALL, counted_with_the_row=False), {COUNTERS}),
    "counters in a transaction of their own, and a crash": (
        replace(SMALL, counted_with_the_row=False, actions=1, kinds=frozenset((CRASH,))),
        {COUNTERS, ENDS},
    ),
    "the last one counts rows": (replace(SMALL, last_by_counter=False, sweep=False), {ENDS}),
    "no sweep, and a message is lost": (replace(SMALL, sweep=False, actions=1, kinds=frozenset((LOSE,))), {ENDS}),
    "no sweep, and a worker crashes": (replace(SMALL, sweep=False, actions=1, kinds=frozenset((CRASH,))), {ENDS}),
    "output after status": (replace(SMALL, output_first=False), {DOWNLOAD}),
    # What the model found when it was made.
    "an unreadable CSV leaves a cancelled request": (
        replace(INGESTED, unreadable_overrules=False, workers=1, actions=2, kinds=frozenset((LOSE_CSV, ABANDON))),
        {ENDS, FEW},
    ),
    "a suspended worker may find the CSV unreadable": (
        replace(INGESTED, unreadable_fenced=False, bad=frozenset(), actions=2, kinds=frozenset((LOSE_CSV, EXPIRE))),
        {FENCE},
    ),
    "who turned a call away does not look again": (
        replace(INGESTED, completion_noticed=False, sweep=False),
        {ENDS},
    ),
    "who has done its product has lost it": (replace(SMALL, ended_is_not_lost=False, sweep=False), {ENDS}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_without_a_safeguard_the_model_finds_what_breaks(name: str) -> None:
    rules, laws = MUTATIONS[name]

    assert laws <= explore(rules, enough=laws).broken.keys()
