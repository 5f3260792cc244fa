"""Escaping of formulas (CSV injection)."""

from __future__ import annotations

import pytest

from gql_imgproc.csvfile.formula_injection import escape_formula


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        "+x",
        "-x",
        "-",
        "+",
        "-1+cmd|' /C calc'!A0",
        "+1(2)",
        "--1",
        "\uff1d1",
        "-5 -",
        " =1+1",
        "\N{NO-BREAK SPACE}+x",
        "\N{ZERO WIDTH NO-BREAK SPACE}-x",
        " \N{NO-BREAK SPACE}\N{ZERO WIDTH NO-BREAK SPACE} @SUM(A1)",
        "\N{EM SPACE}=1",
        " -1+cmd|' /C calc'!A0",
    ],
)
def test_a_formula_is_escaped(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "Lamp",
        "-5",
        "+3.2",
        "-.5",
        "-5.",
        "-1,000.00",
        "+49 170 1234567",
        "-1e-5",
        "-5%",
        "a=b",
        "1-2",
        "'=1",
        " ",
        " x",
        " -5",
        "' =1",
    ],
)
def test_numbers_and_plain_text_are_not_escaped(cell: str) -> None:
    assert escape_formula(cell) == cell
