"""Reading any CSV file (promise P8): property tests."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.validation import CsvSummary
from gql_imgproc.errors import InvalidCsv
from tests.csvfile.csv_cases import (
    HEADER,
    check,
    outcome,
    rows_of,
)


@settings(max_examples=300, deadline=2_000)
@given(
    st.binary(max_size=3_000),
    st.sampled_from([b"", HEADER.encode(), b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"sep=;\n"]),
)
def test_any_bytes_are_accepted_or_refused_with_messages(data: bytes, before: bytes) -> None:
    found = outcome(before + data)
    if isinstance(found, InvalidCsv):
        assert found.total >= len(found.issues) >= 1
        for issue in found.issues:
            assert issue.message.isprintable()
            assert issue.column is None or issue.column.isprintable()


@settings(max_examples=300, deadline=2_000)
@given(
    st.lists(
        st.sampled_from(
            [
                '"',
                ",",
                ";",
                "\n",
                "\r",
                "\r\n",
                "1",
                "2",
                " ",
                "Lamp",
                "https://a.example",
                "\x00",
                "é",
                "=",
                "\t",
                "x" * 60,
            ]
        ),
        max_size=60,
    ),
    st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_any_mix_of_csv_syntax_is_accepted_or_refused(pieces: list[str], encoding: str) -> None:
    limits = CsvLimits(3, 4, 5, 50, max_row_chars=200)
    data = (HEADER + "".join(pieces)).encode(encoding)
    found = outcome(data, limits)
    if isinstance(found, InvalidCsv):
        rows = [issue.row for issue in found.issues if issue.row is not None]
        assert rows == sorted(rows)
    else:
        read = rows_of(data, limits)
        assert (len(read), sum(len(row.image_urls) for row in read)) == (found.products, found.images)


cell_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n\r\t ",;|'), max_size=30)
url = st.builds(
    "{}://{}.example/{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.text("abc", min_size=1, max_size=5),
    st.text("abc/?=%&,;:@é", max_size=10).map(lambda path: path.rstrip(",;")).filter(lambda path: "://" not in path),
)
product = st.tuples(cell_text.filter(str.strip), st.lists(url, min_size=1, max_size=4), cell_text)


@settings(max_examples=200, deadline=2_000)
@given(
    st.lists(product, min_size=1, max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\r\n", "\n"]),
    st.permutations(range(4)),
)
def test_a_spreadsheet_is_read_unchanged(
    products: list[tuple[str, list[str], str]], delimiter: str, encoding: str, line_end: str, order: list[int]
) -> None:
    # Given a table in one of the usual formats,
    table = [("S. No.", "Product Name", "Input Image Urls", "Note")]
    table += [(str(n), name, ",".join(urls), note) for n, (name, urls, note) in enumerate(products, start=1)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([cells[index] for index in order] for cells in table)
    data = text.getvalue().encode(encoding)

    # when it is checked and read,
    summary, rows = check(data), rows_of(data)

    # then nothing is changed.
    assert summary == CsvSummary(len(products), sum(len(urls) for _, urls, _ in products), ())
    assert [(row.product_name, list(row.image_urls)) for row in rows] == [
        (name.strip(), urls) for name, urls, _ in products
    ]
    assert [row.cells for row in rows] == [tuple(cells[index] for index in order) for cells in table[1:]]
