"""Number of examples and time limits of fuzz tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
#: Factor for the number of examples in a long run.
LONG_FACTOR = int(os.environ.get("FUZZ_FACTOR", "50"))
#: Timeout of one test in a long run, in seconds, in place of pytest's.
LONG_TIMEOUT_S = 3_600


def fuzz_settings(examples: int, *, seconds: float) -> settings:
    """Settings with a number of examples and a deadline for each; the same examples in every run, except long ones."""
    return settings(
        max_examples=examples * LONG_FACTOR if LONG else examples,
        deadline=timedelta(seconds=seconds),
        derandomize=not LONG,
        print_blob=True,
        # Only a long run shrinks a failing example: a short one must end within a minute even when it fails.
        phases=(Phase.explicit, Phase.reuse, Phase.generate, *((Phase.shrink,) if LONG else ())),
        # Big inputs are intended, and the server is shared by all examples.
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
            HealthCheck.function_scoped_fixture,
        ],
    )


@contextmanager
def cpu_limit(cpu_seconds: float) -> Iterator[None]:
    """Fails when the process takes more CPU time than this; other processes do not count."""
    started = time.process_time()
    yield
    cpu_s = time.process_time() - started
    assert cpu_s < cpu_seconds, f"took {cpu_s:.2f} s of CPU time"
