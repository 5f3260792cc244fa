"""Inserts many rows in the fastest way of each database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.sql.schema import ScalarElementColumnDefault


def bulk_insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows that all have the same columns; other columns get their defaults.

    PostgreSQL uses COPY: for 2,000 products it takes half the time of INSERT, and a third of the client's CPU time.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
    else:
        _copy(connection, table, rows)


def _copy(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    defaults: dict[str, Any] = {
        column.name: column.default.arg
        for column in table.columns
        if isinstance(column.default, ScalarElementColumnDefault) and column.name not in rows[0]
    }
    columns = [table.c[name] for name in (*rows[0], *defaults)]
    converters = [_converter(connection, column.type) for column in columns]
    names = ", ".join(connection.dialect.identifier_preparer.quote(column.name) for column in columns)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
        for row in rows:
            values = (*row.values(), *defaults.values())
            copy.write_row([convert(value) for convert, value in zip(converters, values, strict=True)])


def _converter(connection: Connection, column_type: Any) -> Any:
    """A function that converts values of a column's type for the driver."""
    return column_type.dialect_impl(connection.dialect).bind_processor(connection.dialect) or (lambda value: value)
