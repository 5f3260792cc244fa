"""Objects of the schema as views of rows."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

V = TypeVar("V")


def view(kind: type[V], row: object, /, **values: Any) -> V:
    """An object with these values, and in its other fields those that the row has under the same names."""
    names = _other_fields(cast(Any, kind), tuple(values))
    return kind(**values, **{name: getattr(row, name) for name in names})


@cache
def _other_fields(kind: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind) if each.init and each.name not in names)
