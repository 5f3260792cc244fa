"""Strategies for damaged bytes and rearranged parts, as an attacker who knows the format would create them."""

from __future__ import annotations

from hypothesis import strategies as st

#: Edge cases of lengths and offsets.
EDGES = (0, 1, 2, 3, 7, 8, 12, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x10000)
EDGES += (0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes, *, most: int = 6, others: tuple[bytes, ...] = ()) -> bytes:
    """The data with bytes flipped, overwritten with an edge case, inserted, removed, repeated or truncated.

    Half of the damage is in the first 256 bytes, where the headers are. `others` may be inserted.
    """
    out = bytearray(data)
    for _ in range(draw(st.integers(0, most))):
        reach = len(out) if draw(st.booleans()) else min(len(out), 256)
        at = draw(st.integers(0, max(0, reach - 1)))
        match draw(st.sampled_from(("flip", "number", "insert", "remove", "repeat", "cut", "other"))):
            case "flip":
                out[at : at + 1] = bytes((out[at] ^ 1 << draw(st.integers(0, 7)),)) if out else b""
            case "number":
                width = draw(st.sampled_from((1, 2, 4)))
                value = draw(st.sampled_from(EDGES)) & (1 << 8 * width) - 1
                out[at : at + width] = value.to_bytes(width, draw(st.sampled_from(("big", "little"))))
            case "insert":
                out[at:at] = draw(st.binary(max_size=8))
            case "remove":
                del out[at : at + draw(st.sampled_from((1, 2, 4, 16, 1_000)))]
            case "repeat":
                out[at:at] = out[at : at + draw(st.sampled_from((1, 4, 64)))] * draw(st.sampled_from((1, 2, 30)))
            case "cut":
                if draw(st.integers(0, 3)) == 0:
                    del out[at:]
            case "other" if others:
                out[at:at] = draw(st.sampled_from(others))
    return bytes(out)


@st.composite
def rearranged_parts(draw: st.DrawFn, parts: list[bytes], foreign: list[bytes], *, most: int = 4) -> list[bytes]:
    """The parts with some of them dropped, repeated, moved, truncated or joined, and foreign parts inserted."""
    out = list(parts)
    for _ in range(draw(st.integers(0, most))):
        if not out:
            break
        at = draw(st.integers(0, len(out) - 1))
        match draw(st.sampled_from(("drop", "double", "move", "cut", "splice", "foreign"))):
            case "drop":
                del out[at]
            case "double":
                out[at:at] = [out[at]] * draw(st.sampled_from((1, 2, 40)))
            case "move":
                out.insert(draw(st.integers(0, len(out) - 1)), out.pop(at))
            case "cut":
                out[at] = out[at][: draw(st.integers(0, len(out[at])))]
            case "splice":
                out[at] += out[draw(st.integers(0, len(out) - 1))]
            case "foreign" if foreign:
                out.insert(at, draw(st.sampled_from(foreign)))
    return out
