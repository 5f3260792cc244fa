"""Each kind of cell of a workbook: its text in the CSV file, and its value in the output workbook."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import pytest
import xlsxwriter

from gql_imgproc.csvfile.typed_cells import Value
from tests.csvfile.test_workbook import cells_of, done, make_calc_sheet, outputs_of, read

URL = "https://a.example/1.jpg"
#: A header, a row and what the output adds to a row, in our own format and in that of a shop.
PROFILES = {
    "generic": (["S. No.", "Product Name", "Input Image Urls"], ["1", "Oak", URL], 2),
    "shop": (["Handle", "Title", "Image Src"], ["oak", "Oak", URL], 0),
}


@dataclass(frozen=True)
class Kind:
    value: Value
    number_format: str
    #: As LibreOffice stores it: the type of the value, its attributes, and the text that the sheet shows.
    ods: tuple[str, str, str]
    text: str
    #: None: as in the uploaded workbook.
    output: Value | None = None
    ods_text: str | None = None
    ods_output: Value | None = None


def ods_time(stored: str, shown: str) -> tuple[str, str, str]:
    return "time", f'office:time-value="{stored}"', shown


def ods_date(stored: str) -> tuple[str, str, str]:
    return "date", f'office:date-value="{stored}"', "31.01.26"


def ods_number(stored: str, shown: str) -> tuple[str, str, str]:
    return "float", f'office:value="{stored}"', shown


def ods_text(text: str) -> tuple[str, str, str]:
    return "string", "", text


KINDS = {
    "date": Kind(date(2026, 1, 31), "dd/mm/yyyy", ods_date("2026-01-31"), "2026-01-31"),
    "first date after the leap day that Excel invented": Kind(
        date(1904, 3, 1), "dd/mm/yyyy", ods_date("1904-03-01"), "1904-03-01"
    ),
    "moment": Kind(
        datetime.fromisoformat("2026-01-31 23:59:58"),
        "yyyy-mm-dd hh:mm",
        ods_date("2026-01-31T23:59:58"),
        "2026-01-31 23:59:58",
    ),
    "moment with milliseconds": Kind(
        datetime.fromisoformat("2026-01-31 23:59:58.500"),
        "yyyy-mm-dd hh:mm",
        ods_date("2026-01-31T23:59:58.5"),
        "2026-01-31 23:59:58.500000",
    ),
    "time of day": Kind(time(8, 30), "hh:mm", ods_time("PT08H30M00S", "08:30"), "08:30:00"),
    "time of day in the afternoon": Kind(time(20, 30, 5), "h:mm AM/PM", ods_time("PT20H30M05S", "8:30 PM"), "20:30:05"),
    "time of day with milliseconds": Kind(
        time(23, 58, 33, 600_000), "hh:mm:ss", ods_time("PT23H58M33.6S", "23:58:34"), "23:58:33.600000"
    ),
    "midnight": Kind(time(0), "hh:mm", ods_time("PT00H00M00S", "00:00"), "00:00:00"),
    "duration": Kind(
        timedelta(hours=27, minutes=30, seconds=5), "[h]:mm:ss", ods_time("PT27H30M05S", "27:30:05"), "27:30:05"
    ),
    "duration in another form": Kind(
        timedelta(days=2, minutes=30), "[h]:mm:ss", ods_time("P2DT30M", "48:30:00"), "48:30:00"
    ),
    "duration with milliseconds": Kind(
        timedelta(hours=30, milliseconds=250), "[h]:mm:ss", ods_time("PT30H00M00.25S", "30:00:00"), "30:00:00.250"
    ),
    "negative duration": Kind(timedelta(hours=-36), "[h]:mm:ss", ods_time("-PT36H00M00S", "-36:00:00"), "-36:00:00"),
    "duration of less than a day": Kind(
        timedelta(hours=8, minutes=30),
        "[h]:mm:ss",
        ods_time("PT08H30M00S", "08:30:00"),
        "08:30:00.000",
        # Only its format tells it from a time of day there.
        ods_text="08:30:00",
        ods_output=time(8, 30),
    ),
    "true": Kind(True, "", ("boolean", 'office:boolean-value="true"', "WAHR"), "TRUE"),
    "false": Kind(False, "", ("boolean", 'office:boolean-value="false"', "FALSCH"), "FALSE"),
    "percentage": Kind(0.125, "0.0%", ("percentage", 'office:value="0.125"', "12,5 %"), "12.5%"),
    "price": Kind(19.5, "0.00", ("currency", 'office:currency="EUR" office:value="19.5"', "19,50 €"), "19.5"),
    "tiny number": Kind(1e-07, "", ods_number("1E-07", "0"), "1e-07"),
    "huge number": Kind(1e25, "", ods_number("1E+25", "1E+25"), "1e+25"),
    "number of 14 digits": Kind(12345678901234, "", ods_number("12345678901234", "12345678901234"), "12345678901234"),
    "number of 16 digits": Kind(
        1234567890123456, "", ods_number("1234567890123456", "1234567890123456"), "1234567890123456"
    ),
    # A spreadsheet shows 15 of its digits.
    "number of 18 digits": Kind(
        123456789012345678,
        "0",
        ods_number("123456789012345678", "123456789012346000"),
        "123456789012346000",
        output=123456789012346000,
    ),
    "number with leading zeros": Kind(7, "000", ods_number("7", "007"), '"007"', output="007"),
    "error": Kind(
        "#N/A", "", ("string", 'office:string-value="" calcext:value-type="error"', "#N/A"), '"#N/A"', output="#N/A"
    ),
    **{
        f"text {text}": Kind(text, "@", ods_text(text), f'"{text}"')
        for text in ("00045", "12345678901234567890", "12:30:00", "2026-01-31", "TRUE", "50%", "1.0")
    },
}


def make_xlsx(header: list[str], row: list[str], *, is_1904: bool) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"date_1904": is_1904}) as book:
        sheet = book.add_worksheet("Products")
        sheet.write_row(0, 0, [*header, *map(str, range(len(KINDS)))])
        sheet.write_row(1, 0, row)
        for column, kind in enumerate(KINDS.values(), start=len(row)):
            if kind.value == "#N/A":
                sheet.write_formula(1, column, "=NA()", None, "#N/A")
            elif isinstance(kind.value, str):
                sheet.write_string(1, column, kind.value)
            else:
                sheet.write(1, column, kind.value, book.add_format({"num_format": kind.number_format or "General"}))
    return file.getvalue()


def make_ods(header: list[str], row: list[str]) -> bytes:
    names = [*header, *map(str, range(len(KINDS)))]
    return make_calc_sheet([list(map(ods_text, names)), [*map(ods_text, row), *(kind.ods for kind in KINDS.values())]])


def of_kinds(cells: list[object], profile: str) -> dict[str, object]:
    header, _, added = PROFILES[profile]
    assert len(cells) == len(header) + len(KINDS) + added
    return dict(zip(KINDS, cells[len(header) :], strict=False))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("format", ["xlsx", "xlsx of 1904", "ods"])
def test_each_kind_of_cell_comes_back_with_its_value_and_type(format: str, profile: str) -> None:
    # Given a workbook with a cell of each kind,
    header, row, _ = PROFILES[profile]
    is_ods = format == "ods"
    source = make_ods(header, row) if is_ods else make_xlsx(header, row, is_1904=format == "xlsx of 1904")

    # when it is read, then the CSV file has the cells as the sheet shows them.
    line = read(source)[0].decode("utf-8-sig").splitlines()[-1]
    texts = {name: (is_ods and kind.ods_text) or kind.text for name, kind in KINDS.items()}
    assert line.split(f'"{URL}",')[1].split(",") == list(texts.values())

    # When its output is written and read again, then each cell has its value, of the same type,
    _, book = outputs_of(source, [done(1)])
    outputs = {name: kind.value if kind.output is None else kind.output for name, kind in KINDS.items()}
    if is_ods:
        outputs |= {name: kind.ods_output for name, kind in KINDS.items() if kind.ods_output is not None}
    found = of_kinds(cells_of(book)[-1], profile)
    assert found == outputs
    for name, value in outputs.items():
        assert type(found[name]) is (float if type(value) is int else type(value)), name

    # and the output of the output is the same.
    assert cells_of(outputs_of(book, [])[1] if profile == "shop" else outputs_of(book, [done(1)])[1]) == cells_of(book)
