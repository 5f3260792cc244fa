"""How long a fuzz test goes on, and which examples it tries."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
#: So many times as many examples as usual does a long run try.
LONG_FACTOR = int(os.environ.get("FUZZ_FACTOR", "50"))
#: The end of a long run of one test, in seconds, beyond what pytest gives any test.
LONG_TIMEOUT_S = 3_600


def bounded(examples: int, *, seconds: float) -> settings:
    """So many examples, each with a deadline; the same ones in every run, unless it is a long one."""
    return settings(
        max_examples=examples * LONG_FACTOR if LONG else examples,
        deadline=timedelta(seconds=seconds),
        derandomize=not LONG,
        print_blob=True,
        # Only a long run looks for the smallest example: a usual one ends within its minute when it fails too.
        phases=(Phase.explicit, Phase.reuse, Phase.generate, *((Phase.shrink,) if LONG else ())),
        # Big inputs are the point, and the door stays open between examples as it does between strangers.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture,
        ],
    )


@contextmanager
def within(cpu_seconds: float) -> Iterator[None]:
    """Fails when the process takes more CPU than this: a machine that is busy with others does not count."""
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < cpu_seconds, f"took {took:.2f} s"
