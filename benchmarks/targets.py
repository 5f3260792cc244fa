"""How a benchmark tells whether a goal was met."""

from __future__ import annotations


def goal(what: str, ratio: float, met: bool, wanted: str) -> None:
    print(f"{what:62} {ratio:6.3f}   {wanted:8} {'met' if met else 'MISSED'}")
