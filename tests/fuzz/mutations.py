"""Damage to bytes and to lists of parts, as an attacker who knows the format would do it."""

from __future__ import annotations

from hypothesis import strategies as st

#: Numbers at which lengths and offsets break.
EDGES = (0, 1, 2, 3, 7, 8, 12, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
EDGES += (0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


@st.composite
def damaged(draw: st.DrawFn, data: bytes, *, most: int = 6, others: tuple[bytes, ...] = ()) -> bytes:
    """The bytes with some of them flipped, overwritten by an extreme number, inserted, removed, repeated or cut off.

    Half of the damage is in the first 256 bytes, where headers are. `others` are texts that may be inserted.
    """
    made = bytearray(data)
    for _ in range(draw(st.integers(0, most))):
        reach = len(made) if draw(st.booleans()) else min(len(made), 256)
        at = draw(st.integers(0, max(0, reach - 1)))
        match draw(st.sampled_from(("flip", "number", "insert", "remove", "repeat", "cut", "other"))):
            case "flip":
                made[at : at + 1] = bytes((made[at] ^ 1 << draw(st.integers(0, 7)),)) if made else b""
            case "number":
                width = draw(st.sampled_from((1, 2, 4)))
                value = draw(st.sampled_from(EDGES)) & (1 << 8 * width) - 1
                made[at : at + width] = value.to_bytes(width, draw(st.sampled_from(("big", "little"))))
            case "insert":
                made[at:at] = draw(st.binary(max_size=8))
            case "remove":
                del made[at : at + draw(st.sampled_from((1, 2, 4, 16, 1_000)))]
            case "repeat":
                made[at:at] = made[at : at + draw(st.sampled_from((1, 4, 64)))] * draw(st.sampled_from((1, 2, 30)))
            case "cut":
                if draw(st.integers(0, 3)) == 0:
                    del made[at:]
            case "other" if others:
                made[at:at] = draw(st.sampled_from(others))
    return bytes(made)


@st.composite
def rearranged(draw: st.DrawFn, parts: list[bytes], strangers: list[bytes], *, most: int = 4) -> list[bytes]:
    """The parts with some of them left out, doubled, moved, cut or replaced by a stranger."""
    made = list(parts)
    for _ in range(draw(st.integers(0, most))):
        if not made:
            break
        at = draw(st.integers(0, len(made) - 1))
        match draw(st.sampled_from(("drop", "double", "move", "cut", "splice", "stranger"))):
            case "drop":
                del made[at]
            case "double":
                made[at:at] = [made[at]] * draw(st.sampled_from((1, 2, 40)))
            case "move":
                made.insert(draw(st.integers(0, len(made) - 1)), made.pop(at))
            case "cut":
                made[at] = made[at][: draw(st.integers(0, len(made[at])))]
            case "splice":
                made[at] += made[draw(st.integers(0, len(made) - 1))]
            case "stranger" if strangers:
                made.insert(at, draw(st.sampled_from(strangers)))
    return made
