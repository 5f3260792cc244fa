"""The preview of a file before its upload: its profile, its columns and its first rows."""

from __future__ import annotations

import io

import pytest

from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.preview import PREVIEW_BYTES, CsvPreview, preview
from gql_imgproc.enums import CsvProfile
from gql_imgproc.errors import InvalidCsv
from tests.csvfile.csv_cases import HEADER, LIMITS


def preview_of(content: str | bytes, layout: CsvLayout = RECOGNIZED) -> CsvPreview:
    return preview(io.BytesIO(content.encode() if isinstance(content, str) else content), LIMITS, layout)


def test_a_recognized_file_has_a_profile_columns_and_rows() -> None:
    content = "\ufeffHandle;Title;Image Src;;\n\n" + "".join(
        f"p{n};Lamp {n};https://a.example/{n}.jpg\n" for n in range(9)
    )

    found = preview_of(content)

    assert (found.profile, found.columns) == (CsvProfile.SHOPIFY, ["Handle", "Title", "Image Src"])
    assert found.rows == [[f"p{n}", f"Lamp {n}", f"https://a.example/{n}.jpg"] for n in range(5)]


def test_a_file_that_is_not_recognized_has_columns_and_rows() -> None:
    found = preview_of(f"Photo,Text\nhttps://a.example/1.jpg,{'x' * 200}\nhttps://a.example/2.jpg\n")

    assert (found.profile, found.columns) == (None, ["Photo", "Text"])
    assert [len(cell) for cell in found.rows[0]] == [23, 80]
    assert found.rows[1] == ["https://a.example/2.jpg", ""]


def test_named_columns_make_a_file_complete() -> None:
    assert preview_of(HEADER, CsvLayout(CsvProfile.GENERIC)).profile is CsvProfile.GENERIC


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
def test_the_start_of_a_file_is_enough(encoding: str) -> None:
    # Given a file that is longer, cut within a row and a character,
    bom = "\ufeff" if encoding.startswith("utf-16") else ""
    text = (
        bom
        + "S. No.,Product Name,Input Image Urls\n"
        + "".join(f"{n},Käse ਊ,https://a.example/{n}\n" for n in range(9_999))
    )
    data = text.encode(encoding)
    assert len(data) > PREVIEW_BYTES

    found = [preview_of(data[: PREVIEW_BYTES + missing]) for missing in range(4)]

    assert {each.profile for each in found} == {CsvProfile.GENERIC}
    assert found[0].rows[0] == ["0", "Käse ਊ", "https://a.example/0"]


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7\n", b"<html>", b"Title\n" + HEADER.encode()])
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidCsv):
        preview_of(content)
