"""A group of commands that starts quickly."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class QuickGroup(TyperGroup):
    """A group of commands whose flags are `False` when they are not given.

    Typer's own flags are `None` then, and it imports pydantic to convert that, which takes 0.25 s for every command.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if parameter.default is None and getattr(parameter, "is_flag", False):
                parameter.default = False
        return parameters
