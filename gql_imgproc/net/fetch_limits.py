"""Limits of downloads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one download, and of all downloads of a process."""

    max_bytes: int
    connect_s: float
    #: Longest wait for the first byte, and for each following chunk.
    first_byte_s: float
    #: From the first connection to the last byte, including redirects. Waiting for the limit of a host does not count.
    total_s: float
    max_idle: int
    #: Concurrent downloads per host. Budgets limit the hosts of a CSV; this also limits those that they redirect to.
    per_host: int
    max_redirects: int = 5
    #: Longest wait for the limit of a host: ten downloads that take `total_s`.
    limiter_wait_s: float = 600.0
