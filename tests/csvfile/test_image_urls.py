"""The image URLs of one cell."""

from __future__ import annotations

import pytest

from tests.csvfile.csv_cases import (
    HEADER,
    check,
    rows_of,
)


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
    ],
)
def test_urls_are_split_only_before_a_scheme(cell: str, urls: list[str]) -> None:
    (row,) = rows_of(f'{HEADER}1,Lamp,"{cell}"\n')
    assert list(row.image_urls) == urls
    assert check(f'{HEADER}1,Lamp,"{cell}"\n').images == len(urls)
