"""The image URLs of one cell."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from gql_imgproc.csvfile.image_urls import split_urls
from tests.csvfile.csv_cases import HEADER, check, refusal_of, rows_of


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("https://a.example/1.jpg", ["https://a.example/1.jpg"]),
        ("http://a.example/1,http://a.example/2", ["http://a.example/1", "http://a.example/2"]),
        (" http://a.example/1 , http://a.example/2 ,", ["http://a.example/1", "http://a.example/2"]),
        (
            "http://a.example/1\nhttp://a.example/2;\r\nhttp://b.example/",
            ["http://a.example/1", "http://a.example/2", "http://b.example/"],
        ),
        ("http://a.example/w_1,h_2/x.jpg,HTTPS://b.example", ["http://a.example/w_1,h_2/x.jpg", "HTTPS://b.example"]),
        ("http://a.example/?from=http://b.example/c", ["http://a.example/?from=http://b.example/c"]),
        ("http://a.example/;v=1;x,http://b.example/;", ["http://a.example/;v=1;x", "http://b.example/"]),
        (",,http://a.example/1,, ,;http://a.example/1", ["http://a.example/1", "http://a.example/1"]),
        ("http://a.example/ä", ["http://a.example/ä"]),
        ("http://a.example/1|http://a.example/2|", ["http://a.example/1", "http://a.example/2"]),
        ("http://a.example/?f=a|b", ["http://a.example/?f=a|b"]),
        ("“http://a.example/1”, «http://a.example/2»", ["http://a.example/1", "http://a.example/2"]),
        ("'http://a.example/1','http://a.example/2'", ["http://a.example/1", "http://a.example/2"]),
        ("http://a.example/l'", ["http://a.example/l'"]),
        ("http://a.example/1\u200b,\ufeff\u200ehttp://b.example/2\xad", ["http://a.example/1", "http://b.example/2"]),
        ("http://a.example/1\u3000\u2028", ["http://a.example/1"]),
    ],
)
def test_urls_are_split_only_before_a_scheme(cell: str, urls: list[str]) -> None:
    (row,) = rows_of(f'{HEADER}1,Lamp,"{cell}"\n')
    assert list(row.image_urls) == urls
    assert check(f'{HEADER}1,Lamp,"{cell}"\n').images == len(urls)


def test_every_invisible_character_and_quotation_mark_is_stripped() -> None:
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    stripped = [
        char
        for char in characters
        if unicodedata.category(char) in ("Cf", "Zs", "Zl", "Zp")
        or ("QUOTATION MARK" in (name := unicodedata.name(char, "")) and "ORNAMENT" not in name)
    ]
    assert len(stripped) > 190

    for char in stripped:
        assert split_urls(f"{char}http://a.example/1{char}{char}") == ["http://a.example/1"], hex(ord(char))


@pytest.mark.parametrize(
    ("char", "name", "encoded"),
    [
        ("\u200b", "ZERO WIDTH SPACE (U+200B)", "%E2%80%8B"),
        ("\xad", "SOFT HYPHEN (U+00AD)", "%C2%AD"),
        ("\u202e", "RIGHT-TO-LEFT OVERRIDE (U+202E)", "%E2%80%AE"),
        ("”", "RIGHT DOUBLE QUOTATION MARK (U+201D)", "%E2%80%9D"),
        ("<", "LESS-THAN SIGN (U+003C)", "%3C"),
    ],
)
def test_invisible_character_within_a_url_is_refused_by_name_and_position(char: str, name: str, encoded: str) -> None:
    (issue,) = refusal_of(f"{HEADER}1,Lamp,http://a.example/a{char}b.jpg\n").issues

    assert (issue.code.value, issue.row, issue.column) == ("IMAGE_URL_INVALID", 2, "Input Image Urls")
    assert issue.message.endswith(
        f": Character 19 of the URL is {name}, which a URL cannot contain. "
        f"Remove it, or write it as {encoded} if it belongs to the URL."
    )


def test_white_space_within_a_url_is_refused_with_the_fix_for_several_urls() -> None:
    (issue,) = refusal_of(f"{HEADER}1,Lamp,http://a.example/a\u00a0b.jpg\n").issues

    assert "Character 19 of the URL is NO-BREAK SPACE (U+00A0)" in issue.message
    assert "start each with http:// or https://" in issue.message


def test_invisible_character_in_the_scheme_is_named() -> None:
    (issue,) = refusal_of(f"{HEADER}1,Lamp,ht\u200btp://a.example/b.jpg\n").issues

    assert "Character 3 of the URL is ZERO WIDTH SPACE" in issue.message
