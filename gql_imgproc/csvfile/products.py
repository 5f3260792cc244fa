"""Which rows of a file belong to one product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.profiles.profile import Columns
from gql_imgproc.csvfile.serial_numbers import read_serial_number

#: How a parent that has no SKU is named in WooCommerce's files: `id:102`.
_PARENT_ID = "id:"


@dataclass(frozen=True, slots=True)
class CsvProduct:
    #: Number of products before this one.
    position: int
    #: As in the file: a serial number, or what identifies a product in a shop.
    serial_number: str
    product_name: str
    image_urls: tuple[str, ...]


class CurrentProduct:
    """The product of the row that was read last."""

    def __init__(self, columns: Columns, limits: CsvLimits) -> None:
        self._columns = columns
        self._max_chars = limits.max_name_chars
        self._name = ""
        self.id = ""

    @property
    def name(self) -> str:
        return self._name or self.id

    def read(self, row: int, cells: list[str]) -> bool:
        """Takes the next row. Returns whether it begins another product."""
        columns = self._columns
        kind = self._first(columns.kinds, cells)
        if self.id and kind and kind != columns.profile.product_kind:
            return False
        parent = self._first(columns.parents, cells).removeprefix(_PARENT_ID)
        product_id = parent or self._first(columns.ids, cells) or str(row)
        if columns.profile.is_complete:
            product_id = read_serial_number(product_id)
        name = self._first(columns.names, cells)
        # Each row of our own format has a serial number of its own.
        is_new = product_id != self.id or columns.profile.is_complete
        if is_new:
            self.id, self._name = product_id, name
        else:
            self._name = self._name or name
        return is_new

    def _first(self, indices: tuple[int, ...], cells: list[str]) -> str:
        for index in indices:
            if text := cells[index].strip():
                return text if self._columns.profile.is_complete else text[: self._max_chars]
        return ""


def group_rows(
    rows: Iterable[tuple[int, list[str], list[str]]], columns: Columns, limits: CsvLimits
) -> Iterator[CsvProduct]:
    """Puts consecutive rows (number, cells, URLs) of the same product together. Yields the products with images.

    A product with too many images for one is recorded as several.
    """
    current = CurrentProduct(columns, limits)
    position, urls = 0, list[str]()
    product_id = name = ""
    for row, cells, found in rows:
        is_new = current.read(row, cells)
        if urls and (is_new or len(urls) + len(found) > limits.max_images_per_product):
            yield CsvProduct(position, product_id, name, tuple(urls))
            position, urls = position + 1, []
        product_id, name = current.id, current.name
        urls += found
    if urls:
        yield CsvProduct(position, product_id, name, tuple(urls))
