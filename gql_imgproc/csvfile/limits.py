"""How large what comes in may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CsvLimits:
    """How large a manifest may be; the first four are settings."""

    #: Data rows.
    max_products: int
    #: Addresses in the whole file.
    max_images: int
    #: Columns, those not used here included.
    max_columns: int
    #: Characters of one cell.
    max_field_chars: int
    #: Addresses in one row; a product is one unit of work and must end within its lease's renewals.
    max_images_per_product: int = 100
    #: Issues that are told; more help nobody, and they are kept in memory.
    max_issues: int = 100
    #: Characters of a product name: a label on a page, not a description.
    max_name_chars: int = 2_000
    #: Characters of one row, all its cells together; what is held in memory before a row is given up.
    max_row_chars: int = 2_000_000

    @property
    def longest_row_chars(self) -> int:
        """A row in which one cell is as long as allowed is never too long itself."""
        return max(self.max_row_chars, 2 * self.max_field_chars)
