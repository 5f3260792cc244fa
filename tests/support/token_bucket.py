"""How hosts limit requests: a token bucket, for the simulated and for the real test host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """Holds up to `capacity` tokens and gains `rate` per second; a request takes one."""

    capacity: float
    rate: float
    _tokens: float = -1.0
    _filled_at: float = 0.0

    def take(self, now: float) -> bool:
        if self._tokens < 0:
            self._tokens = self.capacity
        else:
            self._tokens = min(self.capacity, self._tokens + (now - self._filled_at) * self.rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
