"""The header `Accept`: weights, wildcards, and what is not acceptable."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.net.accept import Accept


@pytest.mark.parametrize(
    ("header", "weight"),
    [
        ("", 0),
        ("image/avif", 1),
        ("IMAGE/AVIF ; Q=0.5", 0.5),
        ("image/*;q=0.5, */*;q=0.1", 0.5),
        ("*/*;q=0.1", 0.1),
        ("image/avif;q=0, image/*", 0),
        ("image/*, image/avif;q=0.2, */*", 0.2),
        ("image/*;q=0, */*", 0),
        ("image/webp, text/*", 0),
        ("image/avif;profile=x;q=0.3", 0.3),
        ("image/avif;q=", 0),
        ("image/avif;q=nan", 0),
        ("image/avif;q=-1", 0),
        ("image/avif;q=inf", 0),
        (",, ;q=1,image/avif,", 1),
    ],
)
def test_most_specific_name_decides_the_weight(header: str, weight: float) -> None:
    assert Accept(header).weight("image/avif") == weight


def test_names_are_those_that_are_acceptable_in_their_order() -> None:
    accept = Accept("b/b;q=0.1, a/a, c/c;q=0, */*")

    assert accept.names() == ["b/b", "a/a", "*/*"]
    # A wildcard names nothing else.
    assert [accept.named_weight(name) for name in ("a/a", "b/b", "c/c", "d/d")] == [1, 0.1, 0, 0]


@given(st.text(st.characters(max_codepoint=255)) | st.text("aimgevf/*;,q=.0159 -+en"))
def test_any_header_gives_weights_from_0_to_1(header: str) -> None:
    accept = Accept(header)

    assert 0 <= accept.weight("image/avif") <= 1
    assert all(0 < accept.named_weight(name) <= 1 for name in accept.names())
