"""An ICC profile (ICC.1:2001-04) of the primaries and the gamma of an image, for formats that cannot store them."""

from __future__ import annotations

import struct

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]

#: White point and primaries of sRGB, as x and y, and the difference at which colours still look alike.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_TOLERANCE = 0.01
#: Wide gamuts by their number in H.273: those of BT.2020, and of P3 with the white of a screen.
_WIDE = {
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
}
#: Transfers of H.273 that browsers show like that of a screen, and its gamma in units of PNG.
_SCREEN_TRANSFERS, _SCREEN_GAMMA = (1, 2, 6, 13, 14, 15), 0.45455
#: White of a profile (D50), and the cones of Bradford, in which one white is adapted to another.
_D50: Vector = (0.9642, 1.0, 0.8249)
_BRADFORD: Matrix = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def make_profile(chromaticities: tuple[float, ...], gamma: float) -> bytes:
    """Empty for the primaries of sRGB, and for numbers that are no colours. `gamma` is that of a PNG, 0.45455 for a
    screen; `chromaticities` are x and y of white, red, green and blue."""
    is_screen = all(abs(a - b) <= _TOLERANCE for a, b in zip(chromaticities, _SRGB, strict=True))
    if is_screen or not 0.1 <= gamma <= 10 or not all(0 <= n <= 1 for n in chromaticities):
        return b""
    try:
        white, *primaries = (_to_xyz(*chromaticities[n : n + 2]) for n in range(0, 8, 2))
        amounts = _apply(_invert(_columns(*primaries)), white)
        cones, target = _apply(_BRADFORD, white), _apply(_BRADFORD, _D50)
        inverse = _invert(_BRADFORD)
        points = []
        for point, amount in zip(primaries, amounts, strict=True):
            adapted = (n * b / a for n, a, b in zip(_apply(_BRADFORD, point), cones, target, strict=True))
            x, y, z = (n * amount for n in _apply(inverse, tuple(adapted)))
            points.append(_xyz(x, y, z))
    except (ZeroDivisionError, struct.error):
        return b""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 / gamma))
    name = b"desc" + bytes(4) + struct.pack(">I", 4) + b"RGB\0" + bytes(4 + 4 + 2 + 1 + 67)
    parts = {b"desc": name, b"cprt": b"text" + bytes(4) + b"CC0\0", b"wtpt": _xyz(*_D50)}
    parts |= {color + b"XYZ": point for color, point in zip((b"r", b"g", b"b"), points, strict=True)}
    parts |= {color + b"TRC": curve for color in (b"r", b"g", b"b")}
    return _assemble(parts)


def make_profile_of_video(colors: tuple[int, int]) -> bytes:
    """Of primaries and transfer (H.273). Empty for HDR, and for other primaries than those of a wide gamut."""
    primaries, transfer = colors
    is_known = primaries in _WIDE and transfer in _SCREEN_TRANSFERS
    return make_profile(_WIDE[primaries], _SCREEN_GAMMA) if is_known else b""


def _to_xyz(x: float, y: float) -> Vector:
    return x / y, 1.0, (1 - x - y) / y


def _columns(a: Vector, b: Vector, c: Vector) -> Matrix:
    return (a[0], b[0], c[0]), (a[1], b[1], c[1]), (a[2], b[2], c[2])


def _apply(matrix: Matrix, vector: tuple[float, ...]) -> Vector:
    x, y, z = (sum(n * m for n, m in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _invert(matrix: Matrix) -> Matrix:
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    rows = ((e * i - f * h, c * h - b * i, b * f - c * e), (f * g - d * i, a * i - c * g, c * d - a * f))
    last = (d * h - e * g, b * g - a * h, a * e - b * d)
    first, second, third = (tuple(n / determinant for n in row) for row in (*rows, last))
    return first, second, third  # type: ignore[return-value]  # each has three numbers


def _xyz(*numbers: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(n * 65_536) for n in numbers))


def _assemble(parts: dict[bytes, bytes]) -> bytes:
    body, at, entries = b"", 128 + 4 + 12 * len(parts), b""
    for name, part in parts.items():
        entries += name + struct.pack(">II", at + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    # The date is that of the specification, so that equal images give equal files.
    head += struct.pack(">6H4s", 2001, 4, 1, 0, 0, 0, b"acsp") + bytes(28) + _xyz(*_D50)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(parts)) + entries + body
