"""Shapes of the parts of sample products. Coordinates are percent of a square; `unit` is one percent in pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from PIL import ImageDraw

#: Draws a shape.
Shape: TypeAlias = Callable[[ImageDraw.ImageDraw, float], None]


def box(left: float, top: float, right: float, bottom: float, radius: float = 1) -> Shape:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.rounded_rectangle([value * unit for value in (left, top, right, bottom)], radius * unit, fill=255)

    return draw


def oval(left: float, top: float, right: float, bottom: float) -> Shape:
    return lambda pen, unit: pen.ellipse([value * unit for value in (left, top, right, bottom)], fill=255)


def arc(left: float, top: float, right: float, bottom: float, start: float, end: float, width: float) -> Shape:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        outline = [value * unit for value in (left, top, right, bottom)]
        pen.arc(outline, start, end, fill=255, width=round(width * unit))

    return draw


def area(*points: tuple[float, float]) -> Shape:
    return lambda pen, unit: pen.polygon([(x * unit, y * unit) for x, y in points], fill=255)


def line(width: float, *points: tuple[float, float]) -> Shape:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.line([(x * unit, y * unit) for x, y in points], fill=255, width=round(width * unit), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.circle((x * unit, y * unit), width * unit / 2, fill=255)

    return draw


def mirror(*points: tuple[float, float]) -> Shape:
    return area(*((100 - x, y) for x, y in points))
