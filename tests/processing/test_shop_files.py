"""The product export of a shop through all services: rows, images, output file, report."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest

from gql_imgproc.csvfile.layout import CsvLayout, NamedColumns
from gql_imgproc.enums import CsvProfile, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.imaging.options import Options, Output, OutputFormat
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import output_charset, output_key, parse_image_path, rendition_id_from_key, report_key
from tests.support.services import ImageHost, jpeg, upload, work_all


async def read_files(runtime: Runtime, request: Snapshot) -> tuple[Snapshot, bytes, list[dict[str, str]]]:
    """The final request, its output and the rows of its report."""
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request.id)
    assert found is not None
    assert found.output_name is not None
    output = await runtime.storage.get(output_key(found.id, found.output_name))
    report = (await runtime.storage.get(report_key(found.id, found.output_name))).decode("utf-8-sig")
    return found, output, list(csv.DictReader(io.StringIO(report, newline=""), strict=True))


async def test_a_shop_export_comes_back_importable(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a Shopify export with two products in four rows, a missing image and an invalid row,
    first, second = (image_host.add(f"/{number}.jpg", jpeg(number)) for number in range(2))
    missing = f"{image_host.url}/missing.jpg"
    content = (
        "\ufeffHandle,Title,Body (HTML),Image Src,Variant Image\r\n"
        f'oak,Oak chair,"=SUM(""1"")",{first},{missing}\r\n'
        f"oak,,,{second},\r\n"
        "oak,,,ftp://a.example/x.jpg,\r\n"
        f'pine,Pine table,,"{first}",\r\n'
    )

    # when it is uploaded and processed,
    accepted = (await upload(runtime, content)).snapshot
    assert (accepted.profile, accepted.total_products, accepted.total_images) == (CsvProfile.SHOPIFY, 2, 4)
    assert (accepted.skipped_rows, [warning["row"] for warning in accepted.warnings]) == (1, [4])
    await work_all(runtime)
    final, output, report = await read_files(runtime, accepted)

    # then only the cells of completed images differ,
    assert final.status is RequestStatus.COMPLETED_WITH_ERRORS
    urls = [row["Output URL"] for row in report]
    assert output.decode() == (
        "\ufeffHandle,Title,Body (HTML),Image Src,Variant Image\r\n"
        f'oak,Oak chair,"=SUM(""1"")",{urls[0]},{missing}\r\n'
        f"oak,,,{urls[2]},\r\n"
        "oak,,,ftp://a.example/x.jpg,\r\n"
        f'pine,Pine table,,"{urls[4]}",\r\n'
    )
    assert all(url.startswith(f"{runtime.settings.public_url}/api/image/") for url in (urls[0], urls[2], urls[4]))

    # the report tells the rest,
    def outcome(row: dict[str, str]) -> tuple[Any, ...]:
        return row["Row"], row["Product"], row["Input URL"], row["Outcome"] in ("COMPRESSED", "KEPT"), row["Error Code"]

    assert [outcome(row) for row in report] == [
        ("2", "Oak chair", first, True, ""),
        ("2", "Oak chair", missing, False, "HTTP_STATUS"),
        ("3", "Oak chair", second, True, ""),
        ("4", "", "", False, "IMAGE_URL_INVALID"),
        ("5", "Pine table", first, True, ""),
    ]
    assert int(report[0]["Bytes Before"]) >= int(report[0]["Bytes After"]) > 0
    assert (report[1]["Outcome"], report[3]["Outcome"]) == ("FAILED", "SKIPPED")


SEVERAL = Options(
    outputs=(Output("full"), Output("avif", OutputFormat.AVIF), Output("thumb", OutputFormat.WEBP, max_width=16))
)


@pytest.mark.parametrize("negotiate", [False, True])
@pytest.mark.parametrize(
    ("profile", "header", "row"),
    [
        (CsvProfile.SHOPIFY, "Handle,Title,Image Src,Variant Image", 'oak,"Oak, 1",{},{}'),
        (CsvProfile.WOOCOMMERCE, "ID,SKU,Name,Images,Type,Published", '1,oak,Oak,"{}, {}",simple,1'),
        (CsvProfile.GOOGLE_MERCHANT, "id\ttitle\timage_link\tadditional_image_link", "oak\tOak\t{}\t{}"),
    ],
)
async def test_image_cells_of_a_shop_have_the_first_output_and_the_report_has_all(
    runtime: Runtime, image_host: ImageHost, profile: CsvProfile, header: str, row: str, negotiate: bool
) -> None:
    # Given an export with an image, and one that is missing,
    url, missing = image_host.add("/1.jpg", jpeg(1)), f"{image_host.url}/missing.jpg"
    content = f"{header}\r\n{row}\r\n"

    # when it is uploaded with three outputs,
    options = replace(SEVERAL, negotiate=negotiate)
    accepted = (await upload(runtime, content.format(url, missing), options=options)).snapshot
    await work_all(runtime)
    final, output, report = await read_files(runtime, accepted)

    # then only the cell of the first image differs, and has the URL of its first output,
    assert (final.profile, final.processed_images, final.failed_images) == (profile, 1, 1)
    urls = [row["Output URL"] for row in report]
    assert output.decode() == content.format(urls[0], missing)
    # and the report has a row for each output, and one for the failed image.
    assert [(row["Input URL"], row["Outcome"], row["Output"]) for row in report] == [
        *((url, "COMPRESSED", name) for name in ("full", "avif", "thumb")),
        (missing, "FAILED", ""),
    ]
    assert [url[-5:] for url in urls] == ["1.jpg", ".avif", ".webp", ""]
    # Only files of the same dimensions can be served in place of each other.
    paths = [parse_image_path(url.partition("/api/image/")[2]) for url in urls[:3]]
    ids = [rendition_id_from_key(path.key) for path in paths if path]
    assert [path and list(path.alternatives) for path in paths] == ([ids[1:2], ids[:1], []] if negotiate else [[]] * 3)


async def test_the_output_of_a_shop_uploaded_again_changes_nothing(runtime: Runtime, image_host: ImageHost) -> None:
    # Given the output of a shop's file whose images are all done,
    url = image_host.add("/1.jpg", jpeg(1))
    content = f"sku,name,product_type,base_image\nA,Oak,simple,{url}\n"
    first = (await upload(runtime, content, options=replace(SEVERAL, negotiate=True))).snapshot
    await work_all(runtime)
    _, output, _ = await read_files(runtime, first)

    # when it is uploaded, then there is nothing to do, and the second output is the same.
    second = (await upload(runtime, output)).snapshot
    assert (second.profile, second.total_products, second.total_images) == (CsvProfile.MAGENTO, 0, 0)
    await work_all(runtime)
    final, again, report = await read_files(runtime, second)
    assert final.status is RequestStatus.COMPLETED
    assert again == output
    assert report == []


async def test_the_layout_of_the_upload_is_used_until_the_end(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a file whose image column is named by the upload,
    url = image_host.add("/1.jpg", jpeg(1))
    content = f"Nr;Bild\n7;{url}\n"

    # when it is uploaded and processed, then it comes back with another URL in this column.
    layout = CsvLayout(columns=NamedColumns(("Bild",), id="Nr"))
    accepted = (await upload(runtime, content, layout=layout)).snapshot
    assert accepted.profile is CsvProfile.CUSTOM
    await work_all(runtime)
    _, output, report = await read_files(runtime, accepted)
    assert output.decode() == f"Nr;Bild\n7;{report[0]['Output URL']}\n"
    assert report[0]["Product"] == "7"


async def test_our_own_format_has_a_report_too(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/1.jpg", jpeg(1))
    accepted = (await upload(runtime, f"S. No.,Product Name,Image URL\n1,=Oak,{url}\n")).snapshot
    await work_all(runtime)
    final, _, report = await read_files(runtime, accepted)
    assert final.profile is CsvProfile.GENERIC
    assert [(row["Row"], row["Product"], row["Input URL"]) for row in report] == [("2", "'=Oak", url)]
    # A request of an earlier version has no report.
    assert (final.has_report, replace(final, profile=None).has_report) == (True, False)


async def test_a_file_in_a_named_encoding_comes_back_in_it(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a Windows-1251 file of our own format, and a missing image,
    url = image_host.add("/1.jpg", jpeg(1))
    rows = f"1,Стул,{url}\n2,Стол,{image_host.url}/missing.jpg\n"
    content = f"S. No.,Product Name,Input Image Urls\n{rows}".encode("cp1251")

    # when it is uploaded with its encoding and processed,
    accepted = (await upload(runtime, content, layout=CsvLayout(encoding="windows-1251"))).snapshot
    await work_all(runtime)
    final, output, _ = await read_files(runtime, accepted)

    # then names are read correctly, and the output is in the same encoding, which its name tells.
    table = list(csv.reader(io.StringIO(output.decode("cp1251"), newline="")))
    assert [row[1] for row in table[1:]] == ["Стул", "Стол"]
    assert table[1][3].endswith("/stul-1.jpg")
    assert "404" in table[2][4]
    assert output_charset(final.output_name or "") == "windows-1251"
