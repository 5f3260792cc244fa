"""The products of the sample images, as parts that are drawn one over the other.

Coordinates are percent of a square. The light comes from the upper left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import cos, radians, sin
from typing import TypeAlias

from gql_imgproc.standalone.sample_shapes import Shape, arc, area, box, line, mirror, oval

Colour: TypeAlias = tuple[int, int, int]


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
class Product:
    parts: Sequence[Part]
    wall: Colour
    #: Whether it stands on a floor; others hang on the wall.
    stands: bool = True


STEEL, DARK, BLACK, CREAM = (196, 199, 203), (62, 64, 68), (34, 34, 37), (240, 233, 219)
OAK, RUST, NAVY, GREEN, YELLOW = (186, 133, 82), (173, 84, 52), (52, 74, 112), (74, 102, 84), (226, 172, 52)
IRON, LEATHER, RED = (58, 66, 72), (136, 86, 50), (178, 52, 48)
_F = Finish


def _espresso() -> Product:
    return Product(
        (
            Part(box(24, 20, 78, 86, 3), STEEL, _F.METAL),
            Part(box(31, 44, 71, 80), BLACK, _F.ROUND),
            Part(box(22, 16, 80, 22, 2), STEEL, _F.METAL),
            *(Part(oval(x, 9, x + 11, 19), CREAM, _F.ROUND) for x in (28, 41, 54)),
            Part(box(31, 26, 71, 38, 2), DARK),
            *(Part(oval(x, 29, x + 6, 35), STEEL, _F.BALL) for x in (34, 48, 62)),
            Part(box(41, 42, 61, 48, 1), STEEL, _F.METAL),
            Part(box(43, 47, 59, 52, 2), DARK, _F.METAL),
            Part(line(3.6, (58, 50), (80, 56)), BLACK, _F.ROUND),
            Part(line(1.6, (36, 42), (35, 56), (30, 68)), STEEL, _F.METAL),
            Part(arc(55, 65, 65, 75, 270, 90, 1.8), CREAM, _F.ROUND),
            Part(box(43, 62, 59, 78, 4), CREAM, _F.ROUND),
            Part(box(22, 79, 80, 87, 2), DARK, _F.METAL),
        ),
        (214, 205, 192),
    )


def _lamp() -> Product:
    return Product(
        (
            Part(oval(30, 78, 66, 88), DARK, _F.METAL),
            Part(line(2.4, (47, 82), (43, 62), (43, 48), (47, 34), (56, 24), (66, 20)), STEEL, _F.METAL),
            Part(oval(63, 34, 77, 46), (255, 238, 190), _F.BALL),
            Part(area((64, 17), (76, 17), (90, 40), (50, 40)), YELLOW, _F.ROUND),
            Part(oval(50, 37, 90, 43), (255, 226, 150)),
            Part(box(67, 12, 73, 19, 2), DARK, _F.METAL),
        ),
        (172, 184, 190),
    )


def _boot(x: float, y: float, colour: Colour) -> list[Part]:
    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(px + x, py + y) for px, py in points]

    upper = at((20, 24), (40, 22), (42, 48), (52, 58), (66, 62), (71, 70), (71, 78), (18, 78), (19, 56))
    laces = [
        Part(line(1.3, *at((33 + step, 30 + step * 2.6), (43 + step * 1.3, 28 + step * 2.7))), CREAM)
        for step in (0, 2, 4, 6, 8, 10)
    ]
    return [
        Part(area(*upper), colour, _F.CLOTH),
        Part(area(*at((17, 22), (42, 20), (43, 28), (18, 30))), DARK, _F.CLOTH),
        Part(area(*at((52, 66), (66, 63), (72, 70), (72, 78), (50, 78))), DARK, _F.BALL),
        *laces,
        Part(box(16 + x, 76 + y, 73 + x, 82 + y, 2), CREAM, _F.ROUND),
        Part(box(15 + x, 80 + y, 74 + x, 86 + y, 2), BLACK, _F.ROUND),
    ]


def _boots() -> Product:
    return Product([*_boot(18, -7, (104, 68, 42)), *_boot(-2, 1, LEATHER)], (199, 205, 193))


def _clock() -> Product:
    def at(angle: float, radius: float) -> tuple[float, float]:
        return 50 + radius * sin(radians(angle)), 50 - radius * cos(radians(angle))

    ticks = [Part(line(1.6 if n % 3 else 2.6, at(n * 30, 27), at(n * 30, 31)), BLACK) for n in range(12)]
    return Product(
        (
            Part(oval(10, 10, 90, 90), OAK, _F.WOOD),
            Part(oval(15, 15, 85, 85), (120, 82, 48), _F.WOOD),
            Part(oval(17, 17, 83, 83), CREAM, _F.BALL),
            *ticks,
            Part(line(3, at(125, -5), at(305, 19)), BLACK),
            Part(line(2, at(240, -6), at(60, 27)), BLACK),
            Part(line(0.9, at(20, -8), at(200, 28)), RED),
            Part(oval(47.5, 47.5, 52.5, 52.5), RED, _F.BALL),
        ),
        (203, 209, 211),
        stands=False,
    )


def _rucksack() -> Product:
    return Product(
        (
            Part(arc(42, 6, 58, 26, 180, 360, 3), BLACK, _F.ROUND),
            Part(line(5, (27, 36), (20, 56), (24, 80)), BLACK, _F.CLOTH),
            Part(line(5, (73, 36), (80, 56), (76, 80)), BLACK, _F.CLOTH),
            Part(box(25, 22, 75, 87, 13), GREEN, _F.CLOTH),
            Part(box(32, 57, 68, 83, 6), (62, 88, 72), _F.CLOTH),
            Part(line(1.2, (35, 64), (65, 64)), BLACK),
            Part(box(25, 15, 75, 46, 13), (88, 118, 98), _F.CLOTH),
            *(Part(box(x, 36, x + 5, 60, 1), LEATHER, _F.CLOTH) for x in (37, 58)),
            *(Part(box(x - 1, 50, x + 6, 55, 1), STEEL, _F.METAL) for x in (37, 58)),
            Part(box(44, 24, 56, 32, 1), LEATHER, _F.CLOTH),
        ),
        (219, 209, 194),
    )


def _cookware() -> Product:
    return Product(
        (
            Part(box(6, 51, 20, 55, 2), DARK, _F.ROUND),
            Part(box(70, 51, 84, 55, 2), DARK, _F.ROUND),
            Part(oval(17, 30, 73, 56), STEEL, _F.METAL),
            Part(box(42, 27, 48, 33, 1), DARK, _F.ROUND),
            Part(oval(39, 22, 51, 29), DARK, _F.BALL),
            Part(box(16, 45, 74, 84, 5), STEEL, _F.METAL),
            Part(box(14, 42, 76, 47, 2), STEEL, _F.METAL),
            Part(line(4, (86, 70), (99, 62)), BLACK, _F.ROUND),
            Part(box(50, 68, 90, 88, 6), (150, 84, 56), _F.METAL),
            Part(box(48, 65, 92, 70, 2), (182, 108, 76), _F.METAL),
        ),
        (206, 213, 214),
    )


def _table() -> Product:
    legs = [area((x, 46), (x + 5, 46), (x + 3.6, y), (x + 1, y)) for x, y in ((22, 80), (73, 80), (8, 90), (87, 90))]
    return Product(
        (
            *(Part(leg, (128, 88, 52), _F.WOOD) for leg in legs[:2]),
            *(Part(leg, (168, 118, 72), _F.WOOD) for leg in legs[2:]),
            Part(box(9, 46, 91, 53), (140, 96, 58), _F.WOOD),
            Part(area((20, 32), (80, 32), (97, 45), (3, 45)), OAK, _F.WOOD),
            Part(box(3, 44.5, 97, 48, 1), (154, 106, 62), _F.WOOD),
            Part(box(55, 24, 63, 39, 3), CREAM, _F.ROUND),
            *(Part(line(1, (59, 25), tip), GREEN) for tip in ((53, 8), (60, 5), (66, 11))),
            *(Part(oval(x, y, x + 7, y + 9), GREEN, _F.BALL) for x, y in ((49, 4), (57, 1), (64, 7))),
        ),
        (214, 204, 190),
    )


def _jacket() -> Product:
    sleeve = ((34, 24), (24, 32), (12, 72), (22, 77), (36, 48))
    return Product(
        (
            Part(area(*sleeve), (206, 152, 40), _F.CLOTH),
            Part(mirror(*sleeve), (206, 152, 40), _F.CLOTH),
            Part(oval(37, 6, 63, 34), (204, 150, 38), _F.BALL),
            Part(oval(41, 11, 59, 31), (98, 70, 24), _F.BALL),
            Part(area((33, 23), (44, 20), (50, 30), (56, 20), (67, 23), (71, 88), (29, 88)), YELLOW, _F.CLOTH),
            Part(line(1.3, (50, 29), (50, 88)), (120, 84, 24)),
            Part(line(1.6, (34, 62), (43, 66)), (120, 84, 24)),
            Part(line(1.6, (66, 62), (57, 66)), (120, 84, 24)),
            *(Part(oval(51.5, y, 54, y + 2.5), STEEL, _F.BALL) for y in (36, 48, 60, 72)),
        ),
        (176, 190, 198),
        stands=False,
    )


def _headphones() -> Product:
    cup = [Part(box(13, 48, 30, 82, 8), NAVY, _F.ROUND), Part(box(27, 50, 36, 80, 4), BLACK, _F.CLOTH)]
    return Product(
        (
            Part(arc(19, 10, 81, 92, 180, 360, 5), DARK, _F.METAL),
            Part(arc(24, 9, 76, 84, 215, 325, 5), LEATHER, _F.CLOTH),
            *cup,
            Part(box(64, 50, 73, 80, 4), BLACK, _F.CLOTH),
            Part(box(70, 48, 87, 82, 8), NAVY, _F.ROUND),
            Part(oval(16, 58, 25, 72), STEEL, _F.BALL),
            Part(oval(75, 58, 84, 72), STEEL, _F.BALL),
        ),
        (222, 214, 205),
    )


def _teapot() -> Product:
    return Product(
        (
            Part(arc(27, 4, 73, 66, 190, 350, 3), IRON, _F.METAL),
            Part(area((70, 62), (80, 44), (90, 36), (96, 38), (90, 50), (78, 74)), IRON, _F.ROUND),
            Part(box(36, 80, 64, 87, 2), BLACK, _F.ROUND),
            Part(oval(20, 36, 80, 85), IRON, _F.BALL),
            *(Part(oval(x, 58, x + 4, 62), (84, 94, 100), _F.BALL) for x in range(26, 74, 6)),
            *(Part(oval(x, 65, x + 4, 69), (84, 94, 100), _F.BALL) for x in range(29, 71, 6)),
            Part(oval(35, 30, 65, 43), (72, 80, 86), _F.BALL),
            Part(oval(46, 23, 54, 32), RUST, _F.BALL),
        ),
        (210, 200, 186),
    )


def _poster() -> Product:
    return Product(
        (
            Part(box(20, 4, 80, 94, 0.5), OAK, _F.WOOD),
            Part(box(22, 6, 78, 92, 0.2), CREAM),
            Part(box(26, 10, 74, 82, 0.2), (238, 170, 120), _F.BALL),
            Part(oval(52, 22, 66, 36), (252, 226, 160), _F.BALL),
            Part(area((26, 46), (38, 34), (48, 44), (60, 30), (74, 44), (74, 60), (26, 60)), (132, 110, 134)),
            Part(area((26, 56), (44, 44), (62, 56), (74, 52), (74, 64), (26, 64)), (84, 92, 126)),
            Part(box(26, 60, 74, 82, 0.2), (60, 110, 140), _F.METAL),
            Part(area((26, 66), (40, 68), (52, 76), (48, 82), (26, 82)), (214, 178, 128), _F.CLOTH),
            Part(line(0.8, (56, 68), (56, 58)), CREAM),
            Part(area((57, 58), (57, 67), (63, 67)), CREAM),
            Part(box(34, 85, 66, 88, 0.5), DARK),
        ),
        (205, 208, 203),
        stands=False,
    )


def _gift() -> Product:
    return Product(
        (
            Part(box(9, 27, 91, 76, 4), RED, _F.ROUND),
            Part(box(9, 47, 91, 54, 0.2), CREAM, _F.ROUND),
            Part(box(27, 27, 34, 76, 0.2), CREAM, _F.ROUND),
            Part(oval(12, 38, 31, 52), YELLOW, _F.BALL),
            Part(oval(30, 38, 49, 52), YELLOW, _F.BALL),
            Part(oval(26, 45, 35, 55), YELLOW, _F.BALL),
            Part(box(54, 62, 84, 66, 1), CREAM),
        ),
        (214, 206, 200),
        stands=False,
    )


#: By the first word of the file name.
PRODUCTS: dict[str, Callable[[], Product]] = {
    "espresso": _espresso,
    "lamp": _lamp,
    "boots": _boots,
    "clock": _clock,
    "rucksack": _rucksack,
    "cookware": _cookware,
    "table": _table,
    "jacket": _jacket,
    "headphones": _headphones,
    "teapot": _teapot,
    "poster": _poster,
    "gift": _gift,
}
