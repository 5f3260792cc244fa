"""Drawings of the sample products, each of parts with a shape, a colour and a finish.

Coordinates are percent of a square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import cos, radians, sin
from typing import TypeAlias

from PIL import ImageDraw

Colour: TypeAlias = tuple[int, int, int]
#: Draws a shape; `unit` is one percent in pixels.
Shape: TypeAlias = Callable[[ImageDraw.ImageDraw, float], None]
Point: TypeAlias = tuple[float, float]


class Finish(StrEnum):
    """How the surface of a part reflects light, and its texture."""

    FLAT = "flat"
    ROUND = "round"  # a cylinder
    BALL = "ball"
    METAL = "metal"
    CLOTH = "cloth"
    WOOD = "wood"


@dataclass(frozen=True, slots=True)
class Part:
    shape: Shape
    colour: Colour
    finish: Finish = Finish.FLAT


@dataclass(frozen=True, slots=True)
class SampleProduct:
    parts: Sequence[Part]
    wall: Colour
    #: Whether it stands on a floor; others hang on the wall.
    stands: bool = True


def box(left: float, top: float, right: float, bottom: float, radius: float = 1) -> Shape:
    return lambda pen, unit: pen.rounded_rectangle(
        [value * unit for value in (left, top, right, bottom)], radius * unit, fill=255
    )


def oval(left: float, top: float, right: float, bottom: float) -> Shape:
    return lambda pen, unit: pen.ellipse([value * unit for value in (left, top, right, bottom)], fill=255)


def area(*points: Point) -> Shape:
    return lambda pen, unit: pen.polygon([(x * unit, y * unit) for x, y in points], fill=255)


def line(width: float, *points: Point) -> Shape:
    def draw(pen: ImageDraw.ImageDraw, unit: float) -> None:
        pen.line([(x * unit, y * unit) for x, y in points], fill=255, width=round(width * unit), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.circle((x * unit, y * unit), width * unit / 2, fill=255)

    return draw


def arc(left: float, top: float, right: float, bottom: float, start: float, end: float, width: float) -> Shape:
    return lambda pen, unit: pen.arc(
        [value * unit for value in (left, top, right, bottom)], start, end, fill=255, width=round(width * unit)
    )


def _boot(x: float, y: float, colour: Colour) -> list[Part]:
    upper = (20, 24), (40, 22), (42, 48), (52, 58), (66, 62), (71, 70), (71, 78), (18, 78), (19, 56)
    return [
        Part(area(*((px + x, py + y) for px, py in upper)), colour, _F.CLOTH),
        Part(box(17 + x, 22 + y, 43 + x, 29 + y, 2), DARK, _F.CLOTH),
        *(Part(line(1.3, (33 + n + x, 30 + n * 2.6 + y), (43 + n + x, 28 + n * 2.7 + y)), CREAM) for n in (0, 3, 6, 9)),
        Part(box(16 + x, 76 + y, 73 + x, 82 + y, 2), CREAM, _F.ROUND),
        Part(box(15 + x, 80 + y, 74 + x, 86 + y, 2), BLACK, _F.ROUND),
    ]


def _on_dial(hours: float, radius: float) -> Point:
    angle = radians(30 * hours)
    return 50 + radius * sin(angle), 50 - radius * cos(angle)


STEEL, DARK, BLACK, CREAM = (196, 199, 203), (62, 64, 68), (34, 34, 37), (240, 233, 219)
OAK, NAVY, GREEN, YELLOW, RED = (186, 133, 82), (52, 74, 112), (74, 102, 84), (226, 172, 52), (178, 52, 48)
IRON, LEATHER, COPPER = (58, 66, 72), (136, 86, 50), (182, 108, 76)
_F = Finish

_ESPRESSO_MACHINE = (
    Part(box(24, 20, 78, 86, 3), STEEL, _F.METAL),
    Part(box(31, 44, 71, 80), BLACK, _F.ROUND),
    *(Part(oval(x, 9, x + 11, 21), CREAM, _F.ROUND) for x in (28, 41, 54)),
    Part(box(31, 26, 71, 38, 2), DARK),
    *(Part(oval(x, 29, x + 6, 35), STEEL, _F.BALL) for x in (34, 48, 62)),
    Part(box(41, 42, 61, 52, 2), STEEL, _F.METAL),
    Part(line(3.6, (58, 50), (80, 56)), BLACK, _F.ROUND),
    Part(arc(55, 65, 65, 75, 270, 90, 1.8), CREAM, _F.ROUND),
    Part(box(43, 62, 59, 78, 4), CREAM, _F.ROUND),
    Part(box(22, 79, 80, 87, 2), DARK, _F.METAL),
)
_LAMP = (
    Part(oval(30, 78, 66, 88), DARK, _F.METAL),
    Part(line(2.4, (47, 82), (43, 62), (43, 48), (47, 34), (56, 24), (66, 20)), STEEL, _F.METAL),
    Part(area((64, 17), (76, 17), (90, 40), (50, 40)), YELLOW, _F.ROUND),
    Part(oval(50, 37, 90, 43), (255, 226, 150)),
)
_CLOCK = (
    Part(oval(10, 10, 90, 90), OAK, _F.WOOD),
    Part(oval(17, 17, 83, 83), CREAM, _F.BALL),
    *(Part(line(1.6, _on_dial(hour, 27), _on_dial(hour, 31)), BLACK) for hour in range(12)),
    Part(line(3, (50, 50), _on_dial(10, 19)), BLACK),
    Part(line(2, (50, 50), _on_dial(2, 27)), BLACK),
    Part(oval(47.5, 47.5, 52.5, 52.5), RED, _F.BALL),
)
_RUCKSACK = (
    Part(arc(42, 6, 58, 26, 180, 360, 3), BLACK, _F.ROUND),
    *(Part(line(5, (x, 36), (outside, 56), (x, 80)), BLACK, _F.CLOTH) for x, outside in ((26, 20), (74, 80))),
    Part(box(25, 22, 75, 87, 13), GREEN, _F.CLOTH),
    Part(box(32, 57, 68, 83, 6), (62, 88, 72), _F.CLOTH),
    Part(box(25, 15, 75, 46, 13), (88, 118, 98), _F.CLOTH),
    *(Part(box(x, 36, x + 5, 60, 1), LEATHER, _F.CLOTH) for x in (37, 58)),
)
_COOKWARE = (
    Part(box(6, 51, 84, 55, 2), DARK, _F.ROUND),
    Part(oval(17, 30, 73, 56), STEEL, _F.METAL),
    Part(oval(39, 22, 51, 31), DARK, _F.BALL),
    Part(box(15, 42, 75, 84, 5), STEEL, _F.METAL),
    Part(line(4, (86, 70), (99, 62)), BLACK, _F.ROUND),
    Part(box(50, 66, 90, 88, 6), COPPER, _F.METAL),
)
_TABLE = (
    *(
        Part(area((x, 46), (x + 5, 46), (x + 3.6, y), (x + 1, y)), (150, 104, 62), _F.WOOD)
        for x, y in ((22, 80), (73, 80), (8, 90), (87, 90))
    ),
    Part(area((20, 32), (80, 32), (97, 45), (3, 45)), OAK, _F.WOOD),
    Part(box(3, 44.5, 97, 50, 1), (154, 106, 62), _F.WOOD),
    *(Part(oval(x, y, x + 7, y + 19), GREEN, _F.BALL) for x, y in ((51, 8), (56, 4), (61, 9))),
    Part(box(55, 24, 63, 39, 3), CREAM, _F.ROUND),
)
_JACKET = (
    Part(area((34, 24), (24, 32), (12, 72), (22, 77), (36, 48)), (206, 152, 40), _F.CLOTH),
    Part(area((66, 24), (76, 32), (88, 72), (78, 77), (64, 48)), (206, 152, 40), _F.CLOTH),
    Part(oval(37, 6, 63, 34), (204, 150, 38), _F.BALL),
    Part(oval(41, 11, 59, 31), (98, 70, 24), _F.BALL),
    Part(area((33, 23), (44, 20), (50, 30), (56, 20), (67, 23), (71, 88), (29, 88)), YELLOW, _F.CLOTH),
    Part(line(1.3, (50, 29), (50, 88)), (120, 84, 24)),
    *(Part(line(1.6, (x, 62), (50 + (x - 50) / 2, 66)), (120, 84, 24)) for x in (34, 66)),
)
_HEADPHONES = (
    Part(arc(19, 10, 81, 92, 180, 360, 5), DARK, _F.METAL),
    *(Part(box(x, 50, x + 9, 80, 4), BLACK, _F.CLOTH) for x in (27, 64)),
    *(Part(box(x, 48, x + 17, 82, 8), NAVY, _F.ROUND) for x in (13, 70)),
    *(Part(oval(x, 58, x + 9, 72), STEEL, _F.BALL) for x in (16, 75)),
)
_TEAPOT = (
    Part(arc(27, 8, 73, 76, 185, 355, 3), IRON, _F.METAL),
    Part(area((70, 62), (80, 44), (90, 36), (96, 38), (90, 50), (78, 74)), IRON, _F.ROUND),
    Part(oval(20, 36, 80, 87), IRON, _F.BALL),
    Part(oval(35, 30, 65, 43), (72, 80, 86), _F.BALL),
    Part(oval(46, 23, 54, 32), COPPER, _F.BALL),
)
_POSTER = (
    Part(box(20, 4, 80, 94, 0.5), OAK, _F.WOOD),
    Part(box(22, 6, 78, 92, 0.2), CREAM),
    Part(box(26, 10, 74, 82, 0.2), (238, 170, 120), _F.BALL),
    Part(oval(52, 22, 66, 36), (252, 226, 160), _F.BALL),
    Part(area((26, 46), (38, 34), (48, 44), (60, 30), (74, 44), (74, 60), (26, 60)), (132, 110, 134)),
    Part(box(26, 60, 74, 82, 0.2), (60, 110, 140), _F.METAL),
    Part(area((26, 66), (40, 68), (52, 76), (48, 82), (26, 82)), (214, 178, 128), _F.CLOTH),
)
_GIFT_CARD = (
    Part(box(9, 27, 91, 76, 4), RED, _F.ROUND),
    Part(box(9, 47, 91, 54, 0.2), CREAM, _F.ROUND),
    Part(box(27, 27, 34, 76, 0.2), CREAM, _F.ROUND),
    *(Part(oval(x, 38, x + 19, 52), YELLOW, _F.BALL) for x in (12, 30)),
    Part(oval(26, 45, 35, 55), YELLOW, _F.BALL),
)

#: By the first word of the file name.
PRODUCTS = {
    "espresso": SampleProduct(_ESPRESSO_MACHINE, (214, 205, 192)),
    "lamp": SampleProduct(_LAMP, (172, 184, 190)),
    "boots": SampleProduct([*_boot(18, -7, (104, 68, 42)), *_boot(-2, 1, LEATHER)], (199, 205, 193)),
    "clock": SampleProduct(_CLOCK, (203, 209, 211), stands=False),
    "rucksack": SampleProduct(_RUCKSACK, (219, 209, 194)),
    "cookware": SampleProduct(_COOKWARE, (206, 213, 214)),
    "table": SampleProduct(_TABLE, (214, 204, 190)),
    "jacket": SampleProduct(_JACKET, (176, 190, 198), stands=False),
    "headphones": SampleProduct(_HEADPHONES, (222, 214, 205)),
    "teapot": SampleProduct(_TEAPOT, (210, 200, 186)),
    "poster": SampleProduct(_POSTER, (205, 208, 203), stands=False),
    "gift": SampleProduct(_GIFT_CARD, (214, 206, 200), stands=False),
}
