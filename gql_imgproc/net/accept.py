"""The header `Accept`, and others of its form such as `Accept-Encoding` (RFC 9110, 12.5): what a client prefers."""

from __future__ import annotations


class Accept:
    """The names in the header, such as media ranges, with their weights from 0, which means not acceptable, to 1.

    A weight that cannot be read counts as 0.
    """

    def __init__(self, header: str) -> None:
        self._weights: dict[str, float] = {}
        for part in header.lower().split(","):
            name, *parameters = (piece.strip() for piece in part.split(";"))
            if name:
                self._weights[name] = _parse_weight(parameters)

    def names(self) -> list[str]:
        """What is acceptable, in the order of the header."""
        return [name for name, weight in self._weights.items() if weight > 0]

    def named_weight(self, name: str) -> float:
        """The weight of a name that stands in the header; 0 if it does not."""
        return self._weights.get(name, 0.0)

    def weight(self, media_type: str) -> float:
        """The weight of a media type: that of the most specific name that includes it, such as `image/*`."""
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next((self._weights[name] for name in ranges if name in self._weights), 0.0)


def _parse_weight(parameters: list[str]) -> float:
    text = next((each[2:] for each in parameters if each.startswith("q=")), "1")
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    # No comparison is true for NaN.
    return weight if 0 <= weight <= 1 else 0.0
