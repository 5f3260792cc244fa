"""Readable names of result files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.enums import CsvProfile
from gql_imgproc.imaging.options import MAX_FILE_NAME_CHARS, MAX_OUTPUT_NAME_CHARS, OptionInvalid, Options
from gql_imgproc.requests.file_names import MAX_CHARS, name_image, name_product


@pytest.mark.parametrize(
    ("serial_number", "product_name", "name"),
    [
        ("1", "Oak chair", "oak-chair-2.jpg"),
        ("1", "Größe: Löffel", "grosse-loffel-2.jpg"),
        ("1", "Стул дубовый", "stul-dubovyy-2.jpg"),
        ("1", "木椅", "muyi-2.jpg"),
        ("1", "../../etc/passwd?<&", "etc-passwd-2.jpg"),
        ("OC/1", " ", "oc-1-2.jpg"),
        ("", "", "image-2.jpg"),
    ],
)
def test_a_name_is_a_transliterated_slug_with_a_number(serial_number: str, product_name: str, name: str) -> None:
    assert name_image(name_product(None, CsvProfile.GENERIC, serial_number, product_name), 1, "0-1.jpg") == name


def test_the_handle_of_a_shop_comes_before_the_name() -> None:
    assert name_product(None, CsvProfile.SHOPIFY, "oak-chair", "Oak chair, natural") == "oak-chair-{n}"


@pytest.mark.parametrize(
    ("template", "name"),
    [("{sku}", "oc-1"), ("{name}", "oak-chair"), ("Shop_{sku}-{name}-{n}", "Shop_oc-1-oak-chair-{n}"), ("x", "x")],
)
def test_a_template_names_the_images(template: str, name: str) -> None:
    assert name_product(template, CsvProfile.WOOCOMMERCE, "OC-1", "Oak chair") == name


@pytest.mark.parametrize("template", ["", "{title}", "{handle", "a/b", "a.b", "{n}\n", "ü", "x" * 51, "{handle!r}"])
def test_another_template_is_refused(template: str) -> None:
    with pytest.raises(OptionInvalid, match="file_name: must have 1 to 50 letters"):
        Options(file_name=template)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, f"{'a' * 42}-7-{'x' * 30}.webp"),
        ("{n}_{name}", f"7_{'a' * 42}-{'x' * 30}.webp"),
    ],
)
def test_a_long_name_is_cut_in_front_of_number_and_output(template: str | None, name: str) -> None:
    product = name_product(template, CsvProfile.SHOPIFY, "a" * 99, "a" * 99)

    assert name_image(product, 6, "0-1.webp", "x" * MAX_OUTPUT_NAME_CHARS) == name
    assert len(name) == MAX_CHARS


@given(
    st.lists(st.sampled_from(["{handle}", "{sku}", "{name}", "{n}", "x", "-"]), min_size=1)
    .map("".join)
    .filter(lambda template: len(template) <= MAX_FILE_NAME_CHARS),
    st.text(),
    st.text(),
    st.sampled_from(CsvProfile),
    st.sampled_from([None, "thumb", "x" * MAX_OUTPUT_NAME_CHARS]),
)
def test_names_are_short_and_safe(
    template: str, serial_number: str, product_name: str, profile: CsvProfile, output: str | None
) -> None:
    product = name_product(Options(file_name=template).file_name, profile, serial_number, product_name)
    name = name_image(product, 99, "0-1.jpeg", output)
    assert len(name) <= MAX_CHARS
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
