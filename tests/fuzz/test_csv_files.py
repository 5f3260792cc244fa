"""Any CSV bytes are accepted or refused with messages, and an accepted file has an output CSV."""

from __future__ import annotations

import io
import json

from hypothesis import event, given

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.validation import validate
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.errors import CsvIssueCode, InvalidCsv
from gql_imgproc.net.address_policy import NetworkPolicy, check_url
from tests.fuzz.asgi_client import FuzzServer
from tests.fuzz.csv_files import hostile_csv_files
from tests.fuzz.limits import cpu_limit, fuzz_settings
from tests.support.csv_rows import read_rows

LIMITS = CsvLimits(50, 100, 20, 5_000)
UPLOAD = """
mutation($input: UploadCsvInput!) { uploadCsv(input: $input) {
  __typename
  ... on UploadCsvSuccess { request { id csvFilename totalProducts totalImages warnings { message } } }
  ... on CsvInvalid { message totalErrors errors { row column code message } }
} }
"""
BOUNDARY = b"fuzz-boundary"


def check_allowed(url: str) -> tuple[CsvIssueCode, str] | None:
    problem = check_url(url, NetworkPolicy())
    return (CsvIssueCode[f"IMAGE_URL_{problem.code.name}"], problem.message) if problem else None


@fuzz_settings(600, seconds=5)
@given(hostile_csv_files())
def test_any_file_is_refused_with_messages_or_has_an_output(content: bytes) -> None:
    # Given any file,
    with cpu_limit(2):
        try:
            summary = validate(io.BytesIO(content), LIMITS, check_allowed)
        except InvalidCsv as refused:
            # when it is refused, then its messages are printable,
            assert refused.total >= len(refused.issues) >= 1
            for issue in refused.issues:
                assert issue.message.isprintable()
                assert issue.column is None or issue.column.isprintable()
            event("refused")
            return
    event("accepted")

    # when it is accepted, then it has the counted rows and images,
    rows = list(read_rows(io.BytesIO(content), LIMITS))
    assert (len(rows), sum(len(row.image_urls) for row in rows)) == (summary.products, summary.images)
    assert all(check_allowed(url) is None for row in rows for url in row.image_urls)
    # every text can be stored and sent,
    for row in rows:
        "".join((row.serial_number, row.product_name, *row.cells)).encode()
        assert "\0" not in row.product_name + row.serial_number
    # and its output is accepted, has the same products, and is its own output.
    results = [
        ReportedResult("https://o.example/1,x" if index == 0 else None)
        for row in rows
        for index in range(len(row.image_urls))
    ]
    output, second_output = io.BytesIO(), io.BytesIO()
    write_output(io.BytesIO(content), output, io.BytesIO(), LIMITS, results)
    validate(output, LIMITS, check_allowed)
    output_rows = list(read_rows(output, LIMITS))
    assert [(row.serial_number, row.image_urls) for row in output_rows] == [
        (row.serial_number, row.image_urls) for row in rows
    ]
    write_output(output, second_output, io.BytesIO(), LIMITS, results)
    assert second_output.getvalue() == output.getvalue()


def multipart(content: bytes, filename: bytes = b"shop.csv") -> bytes:
    operations = json.dumps({"query": UPLOAD, "variables": {"input": {"file": None}}}).encode()
    return b"".join(
        (
            b'--%b\r\nContent-Disposition: form-data; name="operations"\r\n\r\n%b\r\n' % (BOUNDARY, operations),
            b'--%b\r\nContent-Disposition: form-data; name="map"\r\n\r\n{"0":["variables.input.file"]}\r\n' % BOUNDARY,
            b'--%b\r\nContent-Disposition: form-data; name="0"; filename="%b"\r\n' % (BOUNDARY, filename),
            b"Content-Type: text/csv\r\n\r\n%b\r\n--%b--\r\n" % (content, BOUNDARY),
        )
    )


@fuzz_settings(200, seconds=10)
@given(content=hostile_csv_files())
def test_any_uploaded_file_is_accepted_or_refused_with_a_typed_error(fuzzed: FuzzServer, content: bytes) -> None:
    # When any file is uploaded,
    response = fuzzed.exchange(
        "POST",
        "/graphql",
        [("Content-Type", b"multipart/form-data; boundary=" + BOUNDARY), ("GraphQL-Preflight", b"1")],
        multipart(content),
    )

    # then the result is that of `validate`, and never an internal error.
    assert response is not None
    assert response.status == 200
    outcome = response.json()["data"]["uploadCsv"]
    try:
        summary = validate(io.BytesIO(content), LIMITS, check_allowed)
    except InvalidCsv as refused:
        assert (outcome["__typename"], outcome["totalErrors"]) == ("CsvInvalid", refused.total)
        assert [error["message"] for error in outcome["errors"]] == [issue.message for issue in refused.issues]
    else:
        assert outcome["__typename"] == "UploadCsvSuccess"
        request = outcome["request"]
        assert (request["totalProducts"], request["totalImages"]) == (summary.products, summary.images)
