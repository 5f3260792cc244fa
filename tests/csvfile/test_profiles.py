"""Files of shops: recognized by their header, and returned unchanged except for their image cells."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout, NamedColumns
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.profiles import SHOPS
from gql_imgproc.csvfile.profiles.profile import Profile
from gql_imgproc.csvfile.reader import read_products
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy
from gql_imgproc.errors import InvalidCsv
from tests.csvfile.csv_cases import only_example_hosts

LIMITS = CsvLimits(max_products=2_000, max_images=5_000, max_columns=30, max_field_chars=10_000)
RESULTS = "https://img.example/api/image/"
URL = re.compile(r"https://a\.example/[\w,/]*\.jpg")
LAYOUT = CsvLayout(results_url=RESULTS)
SHOPIFY = (
    "Handle,Title,Body (HTML),Variant SKU,Image Src,Image Position,Variant Image\r\n"
    'oak,Oak chair,"<p>5"" wide</p>",=OC,https://a.example/1.jpg,1,https://a.example/n.jpg\r\n'
    "oak,,,OC-B,https://a.example/2.jpg,2,\r\n"
    "oak,,,OC-W,,,\r\n"
    "pine,Pine table,,PT, https://a.example/3.jpg ,1,\r\n"
)


def check(content: str | bytes, layout: CsvLayout = LAYOUT) -> CsvSummary:
    return validate(to_file(content), LIMITS, only_example_hosts, layout=layout)


def to_file(content: str | bytes) -> io.BytesIO:
    return io.BytesIO(content.encode() if isinstance(content, str) else content)


def products_of(content: str | bytes, layout: CsvLayout = LAYOUT) -> list[tuple[str, str, list[str]]]:
    products = list(read_products(to_file(content), LIMITS, check(content, layout).layout))
    assert [product.position for product in products] == list(range(len(products)))
    return [(product.serial_number, product.product_name, list(product.image_urls)) for product in products]


def outputs_of(
    content: str | bytes, results: list[ReportedResult], layout: CsvLayout = LAYOUT
) -> tuple[bytes, list[list[str]]]:
    out, report = io.BytesIO(), io.BytesIO()
    accepted = check(content, layout).layout
    write_output(to_file(content), out, report, LIMITS, results, layout=accepted, check_url=only_example_hosts)
    rows = csv.reader(io.StringIO(report.getvalue().decode("utf-8-sig"), newline=""), strict=True)
    return out.getvalue(), list(rows)


def done(number: int) -> ReportedResult:
    return ReportedResult(f"{RESULTS}{number}.jpg", "COMPRESSED", input_bytes=100, output_bytes=40, similarity=81.5)


FAILED = ReportedResult(None, "FAILED", "HTTP_STATUS", "=The host returned 404.")


@pytest.mark.parametrize(
    ("header", "profile"),
    [
        ("Handle,Title,Body (HTML),Vendor,Image Src,Variant Image", CsvProfile.SHOPIFY),
        ("Title,URL handle,Description,Product image URL,Image position,Variant image URL", CsvProfile.SHOPIFY),
        ("ID,Type,SKU,Name,Published,Categories,Images,Parent", CsvProfile.WOOCOMMERCE),
        ("sku,product_type,name,base_image,small_image,thumbnail_image,additional_images", CsvProfile.MAGENTO),
        ("Item Type,Product ID,Product Name,Product Image ID - 1,Product Image File - 1", CsvProfile.BIGCOMMERCE),
        ("Product ID,Product Name,Product Image URL - 1,Product Image URL - 2", CsvProfile.BIGCOMMERCE),
        ('Product ID;Active (0/1);Name *;"Image URLs (x,y,z...)";Condition', CsvProfile.PRESTASHOP),
        ("Product Id,Product Handle,Product Title,Product Thumbnail,Product Image 1 Url", CsvProfile.MEDUSA),
        ("id\ttitle\tlink\timage_link\tadditional_image_link", CsvProfile.GOOGLE_MERCHANT),
        ("id,title,link,image_link", CsvProfile.GOOGLE_MERCHANT),
        (
            "Item,ID,Name,Type,SKU,Variant Image URL,Internal Image URL (Export),Image URL (Import)",
            CsvProfile.BIGCOMMERCE,
        ),
        ("item_sku\titem_name\tmain_image_url\tother_image_url1\tother_image_url2", CsvProfile.AMAZON),
        ("S. No.,Product Name,Image URL,Image URL 2,Images,SKU,Name,Type", CsvProfile.GENERIC),
    ],
)
def test_a_profile_is_recognized_by_the_header(header: str, profile: CsvProfile) -> None:
    delimiter = next(char for char in "\t;," if char in header)
    width = len(next(csv.reader([header], delimiter=delimiter)))
    row = delimiter.join(["1", "2", *["https://a.example/1.jpg"] * (width - 2)])
    assert check(f"{header}\n{row}\n").layout.profile is profile


def test_rows_of_a_product_are_put_together() -> None:
    # Given a file with rows for variants, with and without an image,
    summary = check(SHOPIFY)

    # when it is read, then consecutive rows of a handle are a product, and its name is that of its first row.
    assert (summary.products, summary.images, summary.warnings) == (2, 4, ())
    assert products_of(SHOPIFY) == [
        ("oak", "Oak chair", ["https://a.example/1.jpg", "https://a.example/n.jpg", "https://a.example/2.jpg"]),
        ("pine", "Pine table", ["https://a.example/3.jpg"]),
    ]


def test_a_variation_belongs_to_its_parent() -> None:
    content = (
        "ID,Type,SKU,Name,Images,Parent\n"
        '1,variable,PT,Pine table,"https://a.example/1.jpg, https://a.example/2.jpg",\n'
        "2,variation,PT-S,Pine table - small,https://a.example/3.jpg,PT\n"
        "3,variable,,Desk,,\n"
        "4,variation,D-S,Desk - small,https://a.example/4.jpg,id:3\n"
        "5,simple,LAMP,Lamp,,\n"
    )
    assert products_of(content) == [
        ("PT", "Pine table", [f"https://a.example/{number}.jpg" for number in (1, 2, 3)]),
        ("3", "Desk", ["https://a.example/4.jpg"]),
    ]


def test_rows_below_a_product_belong_to_it() -> None:
    # Given BigCommerce's modern export, where variants and images have IDs of their own,
    content = (
        "Item,ID,Name,SKU,Variant Image URL,Internal Image URL (Export),Image URL (Import)\n"
        "Product,7,Oak chair,OC,,,\n"
        "Variant,71,,OC-B,https://a.example/b.jpg,,\n"
        "Image,72,,,,https://a.example/1.jpg,\n"
        "Product,,Pine table,PT,,,\n"
        "Image,,,,,,https://a.example/2.jpg\n"
    )

    assert products_of(content) == [
        ("7", "Oak chair", ["https://a.example/b.jpg", "https://a.example/1.jpg"]),
        ("PT", "Pine table", ["https://a.example/2.jpg"]),
    ]


def test_rows_above_the_header_of_amazon_are_kept() -> None:
    # Given Amazon's template, whose second row names the columns in words and whose third one by their keys,
    title = "TemplateType=fptcustom\tVersion=2024.1001\tThe top 3 rows are for Amazon.com use only.\t\t\n"
    words = "Product Type\tSeller SKU\tProduct Name\tMain Image URL\tOther Image URL1\n"
    keys = "feed_product_type\titem_sku\titem_name\tmain_image_url\tother_image_url1\n"
    content = f"{title}{words}{keys}chair\tOC\tOak chair\thttps://a.example/1.jpg\tftp://a.example/2.jpg\n"
    content += "table\tPT\tPine table\thttps://a.example/3.jpg\t\n"

    # when it is read, then the row of keys is its header, and problems have the rows of the file,
    summary = check(content)
    assert (summary.layout.profile, summary.images) == (CsvProfile.AMAZON, 1)
    assert [(issue.row, issue.column) for issue in summary.warnings] == [(4, "other_image_url1")]
    # and the rows above it come back.
    assert outputs_of(content, [done(3)])[0].decode() == content.replace("https://a.example/3.jpg", f"{RESULTS}3.jpg")


def test_a_product_with_too_many_images_is_recorded_as_several() -> None:
    rows = "".join(f"oak,{'' if number else 'Oak'},https://a.example/{number}.jpg\n" for number in range(250))
    products = products_of(f"Handle,Title,Image Src,Vendor\n{rows}".replace(".jpg\n", ".jpg,\n"))
    assert [(serial, name, len(urls)) for serial, name, urls in products] == [
        ("oak", "Oak", 100),
        ("oak", "Oak", 100),
        ("oak", "Oak", 50),
    ]


def test_the_output_of_a_shop_is_its_file_with_other_image_urls() -> None:
    # Given results, one of which failed,
    output, report = outputs_of(SHOPIFY, [done(1), FAILED, done(2), done(3)])

    # then only the image cells differ, and the failed image keeps its URL,
    expected = SHOPIFY
    for number in (1, 2, 3):
        expected = expected.replace(f"https://a.example/{number}.jpg", f"{RESULTS}{number}.jpg")
    assert output == expected.encode()

    # and the report has a row per image, in which formulas are escaped.
    assert report == [
        [
            "Row",
            "Product",
            "Input URL",
            "Output URL",
            "Outcome",
            "Error Code",
            "Error",
            "Bytes Before",
            "Bytes After",
            "Similarity",
        ],
        ["2", "Oak chair", "https://a.example/1.jpg", f"{RESULTS}1.jpg", "COMPRESSED", "", "", "100", "40", "81.5"],
        [
            *("2", "Oak chair", "https://a.example/n.jpg", "", "FAILED", "HTTP_STATUS", "'=The host returned 404."),
            *("", "", ""),
        ],
        ["3", "Oak chair", "https://a.example/2.jpg", f"{RESULTS}2.jpg", "COMPRESSED", "", "", "100", "40", "81.5"],
        ["5", "Pine table", "https://a.example/3.jpg", f"{RESULTS}3.jpg", "COMPRESSED", "", "", "100", "40", "81.5"],
    ]


def test_an_uploaded_output_is_accepted_and_changes_nothing() -> None:
    # Given an output whose images are all done, and one with a failed image,
    output, _ = outputs_of(SHOPIFY, [done(number) for number in range(4)])
    mixed, _ = outputs_of(SHOPIFY, [done(0), FAILED, done(2), done(3)])

    # when they are uploaded, then only the failed image is left to do, and the outputs stay as they are.
    assert (check(output).products, check(output).images) == (0, 0)
    assert outputs_of(output, [])[0] == output
    assert products_of(mixed) == [("oak", "Oak chair", ["https://a.example/n.jpg"])]
    assert outputs_of(mixed, [FAILED])[0] == mixed


def test_invalid_rows_of_a_shop_are_skipped_and_listed() -> None:
    # Given rows with an invalid URL, a forbidden one and a missing cell,
    content = (
        "Handle,Title,Image Src,Vendor\n"
        "a,A,https://a.example/1.jpg,x\n"
        "b,B,ftp://b.example/1.jpg,x\n"
        "c,C,https://private.example/1.jpg,x\n"
        "d,D,https://a.example/2.jpg\n"
        "e,E,,x\n"
    )

    # when it is checked, then these rows are skipped with a warning,
    summary = check(content)
    assert (summary.products, summary.images) == (1, 1)
    assert [(issue.code.value, issue.row, issue.column) for issue in summary.warnings] == [
        ("IMAGE_URL_INVALID", 3, "Image Src"),
        ("IMAGE_URL_FORBIDDEN", 4, "Image Src"),
        ("COLUMN_COUNT", 5, None),
    ]
    assert summary.layout.skipped_rows == {3, 4, 5}

    # come back as they are, and stand in the report.
    output, report = outputs_of(content, [done(1)])
    assert output == content.replace("https://a.example/1.jpg", f"{RESULTS}1.jpg").encode()
    assert [row[:6] for row in report[2:]] == [
        ["3", "", "", "", "SKIPPED", "IMAGE_URL_INVALID"],
        ["4", "", "", "", "SKIPPED", "IMAGE_URL_FORBIDDEN"],
        ["5", "", "", "", "SKIPPED", "COLUMN_COUNT"],
    ]


def test_a_row_with_a_stray_quotation_mark_is_skipped() -> None:
    # Given two such rows in a shop's file, the second of which is two lines long,
    content = (
        "Handle,Title,Image Src,Vendor\r\n"
        "a,A,https://a.example/1.jpg,x\r\n"
        'b,"5" pipe",https://a.example/2.jpg,x\r\n'
        "c,C,https://a.example/3.jpg,x\r\n"
        'd,"D" ,https://a.example/4.jpg,"x\r\n'
        'y"\r\n'
        "e,E,https://a.example/5.jpg,x\r\n"
    )

    # when it is checked, then these rows are skipped with a warning,
    summary = check(content)
    assert (summary.products, summary.images) == (3, 3)
    assert [(issue.code.value, issue.row, issue.column) for issue in summary.warnings] == [
        ("QUOTE_INVALID", 3, "Title"),
        ("QUOTE_INVALID", 5, "Title"),
        ("COLUMN_COUNT", 6, None),
    ]

    # come back byte for byte, and stand in the report.
    output, report = outputs_of(content, [done(1), FAILED, done(5)])
    expected = content.replace("https://a.example/1", f"{RESULTS}1").replace("https://a.example/5", f"{RESULTS}5")
    assert output == expected.encode()
    skipped = [row for row in report if row[4] == "SKIPPED"]
    assert [(row[0], row[5]) for row in skipped] == [
        ("3", "QUOTE_INVALID"),
        ("5", "QUOTE_INVALID"),
        ("6", "COLUMN_COUNT"),
    ]
    assert skipped[0][6].startswith("In row 3 text follows a closing quotation mark in cell 2.")

    # In our own format, whose output is a new file, the upload is refused, and so is a shop's file on request.
    generic = 'S. No.,Product Name,Image URL\n1,"5" pipe,https://a.example/1.jpg\n2,B,https://a.example/2.jpg\n'
    for file, policy in ((generic, InvalidRowPolicy.SKIP_ROW), (content, InvalidRowPolicy.REFUSE_FILE)):
        with pytest.raises(InvalidCsv) as caught:
            check(file, CsvLayout(on_invalid_row=policy))
        assert caught.value.issues[0].code.value == "QUOTE_INVALID"


def test_the_caller_decides_about_invalid_rows() -> None:
    # Given an invalid row in a shop's file and in one of our own format,
    shop = SHOPIFY.replace("https://a.example/2.jpg", "ftp://a.example")
    generic = "S. No.,Product Name,Image URL\n1,A,https://a.example/1.jpg\n1,B,https://a.example/2.jpg\n3,=C,\n"

    # when the caller does not want the default, then the shop's file is refused,
    with pytest.raises(InvalidCsv) as caught:
        check(shop, CsvLayout(on_invalid_row=InvalidRowPolicy.REFUSE_FILE))
    assert [(issue.row, issue.column) for issue in caught.value.issues] == [(3, "Image Src")]

    # and the rows of the other one are skipped.
    output, report = outputs_of(generic, [done(1)], CsvLayout(on_invalid_row=InvalidRowPolicy.SKIP_ROW))
    assert output.splitlines()[1:] == [
        f"1,A,https://a.example/1.jpg,{RESULTS}1.jpg,".encode(),
        b"1,B,https://a.example/2.jpg,,",
        b"3,'=C,,,",
    ]
    assert [row[4:6] for row in report[2:]] == [
        ["SKIPPED", "SERIAL_NUMBER_DUPLICATE"],
        ["SKIPPED", "IMAGE_URL_MISSING"],
    ]


def test_a_shop_file_without_any_image_is_refused() -> None:
    with pytest.raises(InvalidCsv) as caught:
        check("Handle,Title,Image Src\na,A,\n")
    assert [(issue.code.value, issue.row) for issue in caught.value.issues] == [("IMAGE_URL_MISSING", None)]
    with pytest.raises(InvalidCsv) as caught:
        check("Handle,Title,Image Src\na,A,ftp://a\n")
    assert [(issue.code.value, issue.row) for issue in caught.value.issues] == [("IMAGE_URL_INVALID", 2)]


def test_file_names_in_image_columns_stay_with_a_warning() -> None:
    content = "sku,name,product_type,base_image,additional_images\nA,a,simple,/m/a.jpg,https://a.example/1.jpg\n"
    summary = check(content)
    assert [(issue.code.value, issue.column) for issue in summary.warnings] == [("HEADER", "base_image")]
    assert outputs_of(content, [done(1)])[0] == content.replace("https://a.example/", RESULTS).encode()


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("/m/a.jpg,https://a.example/1.jpg", 1),
        ("https://a.example/1.jpg,/m/a.jpg", 1),
        ("https://a.example/1.jpg,/m/a.jpg, /m/b.jpg,https://a.example/2.jpg,/m/c.jpg", 2),
        ("a.jpg, https://a.example/1.jpg", 1),
        ("/m/a.jpg,/m/b.jpg", 0),
        ("https://a.example/w_20,h_20/1.jpg", 1),
    ],
)
def test_file_names_next_to_urls_stay(cell: str, urls: int) -> None:
    content = f'sku,name,product_type,base_image,additional_images\nA,a,simple,https://a.example/9.jpg,"{cell}"\n'

    summary = check(content)

    assert (summary.images, summary.layout.skipped_rows) == (1 + urls, frozenset())
    output = outputs_of(content, [done(n) for n in range(1 + urls)])[0].decode()
    expected = content
    for number, url in enumerate(URL.findall(content)):
        expected = expected.replace(url, f"{RESULTS}{number}.jpg")
    assert output == expected
    assert output.count("/m/") == content.count("/m/")


def test_columns_with_urls_that_are_not_read_are_told() -> None:
    generic = (
        "S. No.,Product Name,Image URL,Photo,Output Image Urls\n1,A,https://a.example/1,https://a.example/2,http://x\n"
    )
    shop = SHOPIFY.replace("Variant SKU", "Swatch").replace("=OC,", "https://a.example/s.png?v=1,")
    assert [issue.column for issue in check(generic).warnings] == ["Photo"]
    assert [issue.column for issue in check(shop).warnings] == ["Swatch"]
    assert check(SHOPIFY.replace("=OC,", "https://a.example/page,")).warnings == ()


def test_columns_can_be_named() -> None:
    # Given a file of no known shop,
    content = "Nr;Titel;Bild;Bild 2\n7;Stuhl;https://a.example/1.jpg;https://a.example/2.jpg\n8;Tisch;;\n"
    layout = CsvLayout(columns=NamedColumns(("Bild", "bild 2"), name="Titel", id="Nr"))

    # when its columns are named, then it is read and written like a shop's file.
    assert check(content, layout).layout.profile is CsvProfile.CUSTOM
    assert products_of(content, layout) == [("7", "Stuhl", ["https://a.example/1.jpg", "https://a.example/2.jpg"])]
    output, _ = outputs_of(content, [done(1), done(2)], layout)
    assert output == content.replace("https://a.example/", RESULTS).encode()


def test_without_an_id_each_row_is_a_product() -> None:
    content = "Bild\nhttps://a.example/1.jpg\nhttps://a.example/2.jpg\n"
    products = products_of(content, CsvLayout(columns=NamedColumns(("Bild",))))
    assert products == [("2", "2", ["https://a.example/1.jpg"]), ("3", "3", ["https://a.example/2.jpg"])]


@pytest.mark.parametrize(
    ("layout", "column"),
    [
        (CsvLayout(columns=NamedColumns(("Image Src", "Photo"), name="Title")), "Photo"),
        (CsvLayout(columns=NamedColumns(("Image Src",), id="Nr")), "Nr"),
        (CsvLayout(profile=CsvProfile.WOOCOMMERCE), "Images"),
        (CsvLayout(profile=CsvProfile.MAGENTO), None),
        (CsvLayout(profile=CsvProfile.GENERIC), None),
    ],
)
def test_missing_columns_of_a_named_profile_are_told(layout: CsvLayout, column: str | None) -> None:
    with pytest.raises(InvalidCsv) as caught:
        check(SHOPIFY, layout)
    assert [(issue.code.value, issue.row, issue.column) for issue in caught.value.issues] == [("HEADER", 1, column)]


cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('\n\r\t ",;=+-@'), max_size=12)


@st.composite
def shop_files(draw: st.DrawFn) -> tuple[bytes, Profile]:
    """Files of each shop, with any text in other columns and in any dialect."""
    profile = draw(st.sampled_from(SHOPS))
    images = [name.replace("{n}", "1") for name in profile.images]
    columns = [*images, profile.ids[0], profile.names[0], profile.typical[0], "Note", "Note"]
    columns = draw(st.permutations(columns))
    url = st.sampled_from(["https://a.example/1.jpg", "http://b.example/ä?x=a,b", "https://a.example/2.jpg#|"])
    delimiter = draw(st.sampled_from(",;\t|"))
    separator = draw(st.sampled_from([",", ", ", " | ", "\n", ";"]))
    rows = []
    for number in range(draw(st.integers(1, 5))):
        row = draw(st.lists(cell, min_size=len(columns), max_size=len(columns)))
        for index, name in enumerate(columns):
            if name in images:
                row[index] = separator.join(draw(st.lists(url, max_size=3)))
            elif name == profile.ids[0]:
                row[index] = f"p{number // 2}"
        rows.append(row)
    rows[0][columns.index(images[0])] = "https://a.example/1.jpg"
    text = io.StringIO(newline="")
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    # The writer only quotes its own line end.
    quoting = csv.QUOTE_ALL if line_end != "\r\n" else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if draw(st.booleans()):
        text.write(f"sep={delimiter}{line_end}")
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([columns, *rows])
    content = text.getvalue() + draw(st.sampled_from(["", line_end, f"{delimiter}{line_end}"]))
    if draw(st.booleans()):
        content = content.rstrip("\r\n")
    bom, encoding = draw(
        st.sampled_from([(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be")])
    )
    return bom + content.encode(encoding), profile


@settings(max_examples=200, deadline=2_000)
@given(shop_files())
def test_a_round_trip_without_changes_returns_every_byte(generated: tuple[bytes, Profile]) -> None:
    # Given the file of a shop, in which each image is replaced with its own URL, with another URL, or failed,
    content, profile = generated
    summary = check(content)
    urls = [url for _, _, found in products_of(content) for url in found]
    marked = [ReportedResult(f"{RESULTS}{number:05}.jpg") for number in range(len(urls))]

    # when it is written, then it is the same file,
    assert summary.layout.profile is profile.name
    assert outputs_of(content, [ReportedResult(url) for url in urls])[0] == content
    assert outputs_of(content, [ReportedResult(None)] * len(urls))[0] == content
    # other URLs stand where the image URLs stood,
    output, _ = outputs_of(content, marked)
    text, encoding = output, "utf-16-be" if output.startswith(codecs.BOM_UTF16_BE) else "utf-8"
    for url, result in zip(urls, marked, strict=True):
        text = text.replace((result.output_url or "").encode(encoding), url.encode(encoding))
    assert text == content
    # and uploading it again changes nothing.
    assert check(output).images == 0
    assert outputs_of(output, [])[0] == output


def test_recognition_is_the_default() -> None:
    assert CsvLayout() == RECOGNIZED


@pytest.mark.parametrize(
    ("encoding", "given_name", "before", "after"),
    [
        ("utf-8", None, b"", b"\x1a"),
        ("utf-8-sig", None, codecs.BOM_UTF8, b"\r\n\x1a\x1a"),
        ("cp1251", "windows-1251", b"", b""),
        ("utf-16", None, codecs.BOM_UTF16_LE, "\x1a".encode("utf-16-le")),
    ],
)
def test_marks_and_encoding_come_back(encoding: str, given_name: str | None, before: bytes, after: bytes) -> None:
    # Given an export with several byte order marks or end marks, in any encoding,
    content = before + SHOPIFY.replace("Pine table", "Pine table" if given_name is None else "Стол").encode(encoding)

    # when it is written without results, then not a byte differs.
    failed = [ReportedResult(None, "FAILED", "TIMEOUT", "Timeout.")] * 4
    output, _ = outputs_of(content + after, failed, replace(LAYOUT, encoding=given_name))
    assert output == content + after
