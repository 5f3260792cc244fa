"""What an answer may still cost while it is made: how long its lists without pages are is known only then."""

from __future__ import annotations

from gql_imgproc.graphql.faults import bad_input

#: What an entry of such a list costs, each field that is asked of it, the row of an image that is read for it, and an
#: address in a list of those; 5,000 of all together take 0.1 to 0.15 s of CPU (`benchmarks/documents.py`).
ENTRY_COST, FIELD_COST, ROW_COST, ADDRESS_COST = 0.6, 0.1, 0.4, 0.1


class Allowance:
    """The cost that is left for lists without pages, after all that could be measured in the document."""

    def __init__(self, whole: float) -> None:
        self._whole = self._left = whole
        self._fields = 0

    def measured(self, cost: int, fields: int) -> None:
        """`cost`: that of the document; `fields`: the most that it asks of an entry of a list without pages."""
        self._whole -= cost
        self._fields = fields
        self.renew()

    def renew(self) -> None:
        """For the next answer to the same document."""
        self._left = self._whole

    def spend_entries(self, entries: int) -> None:
        """For a list with so many entries, before it is made."""
        self._spend(entries * (ENTRY_COST + self._fields * FIELD_COST))

    def spend_addresses(self, addresses: int) -> None:
        """For a list of so many addresses."""
        self._spend(addresses * ADDRESS_COST)

    def spend_rows(self, rows: int) -> None:
        """For so many rows, before they are read."""
        self._spend(rows * ROW_COST)

    def _spend(self, cost: float) -> None:
        self._left -= cost
        if self._left < 0:
            raise bad_input("This answer is too large. Ask for smaller pages, or for less of each image.")
