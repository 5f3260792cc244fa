"""Prints a measured value next to its target."""

from __future__ import annotations


def print_target(name: str, value: float, target: str, *, is_met: bool) -> None:
    print(f"{name:62} {value:6.3f}   {target:8} {'met' if is_met else 'MISSED'}")
