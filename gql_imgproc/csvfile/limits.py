"""Size limits of an uploaded CSV file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CsvLimits:
    """The first four are settings."""

    #: Data rows.
    max_products: int
    #: URLs in the whole file.
    max_images: int
    #: Columns, including those that the service does not use.
    max_columns: int
    #: Characters of one cell.
    max_field_chars: int
    #: URLs in one row. A product is one unit of work and must complete while its lease is renewed.
    max_images_per_product: int = 100
    #: Issues that are reported. More would not help the user, and they are kept in memory.
    max_issues: int = 100
    #: Characters of a product name, which is a label on a page, not a description.
    max_name_chars: int = 2_000
    #: Characters of all cells of a row together, which is what the reader keeps in memory.
    max_row_chars: int = 2_000_000

    @property
    def longest_row_chars(self) -> int:
        """The effective row limit: a cell of the maximum length must not make its row too long."""
        return max(self.max_row_chars, 2 * self.max_field_chars)
