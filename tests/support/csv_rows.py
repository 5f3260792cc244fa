"""The rows of an accepted CSV file, each read on its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.products import CurrentProduct
from gql_imgproc.csvfile.reader import RowKind, open_csv


@dataclass(frozen=True, slots=True)
class ProductRow:
    row: int
    serial_number: str
    product_name: str
    image_urls: tuple[str, ...]
    cells: tuple[str, ...]


def read_rows(file: BinaryIO, limits: CsvLimits, layout: CsvLayout = RECOGNIZED) -> Iterator[ProductRow]:
    reader = open_csv(file, limits, layout)
    for row, cells, kind in reader.iter_records():
        if kind is not RowKind.DATA:
            continue
        product = CurrentProduct(reader.header.columns, limits)
        product.read(row, cells)
        yield ProductRow(row, product.id, product.name, tuple(reader.urls(cells)), tuple(cells))
