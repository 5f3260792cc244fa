"""How the places of a tenant are shared: it has so many, whether it has one request open or a hundred.

A wake-up call for pictures has the number of one of its request's slots. When a turn ends, the call goes to the back
of the line only while its slot is within the request's share, so that each request has fewer calls when its tenant
opens more requests, without anybody counting them.
"""

from __future__ import annotations


def share_of(window: int, open_requests: int) -> int:
    """Slots of each of so many open requests of one tenant; each has one at least, or it would never end."""
    return max(1, window // max(1, open_requests))
