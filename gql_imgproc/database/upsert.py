"""Insertion of rows that may exist, in the dialect of the connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_if_absent(connection: Connection, table: Table) -> Insert:
    """An INSERT that skips rows which conflict with existing ones."""
    statement: Insert = _insert(connection, table).on_conflict_do_nothing()
    return statement


def insert_or_update(connection: Connection, table: Table, changed: Mapping[str, Any] | None = None) -> Insert:
    """An INSERT that changes the row with the same primary key; by default, to what would be inserted."""
    statement = _insert(connection, table)
    new = {column.name: column for column in statement.excluded if not table.c[column.name].primary_key}
    upsert: Insert = statement.on_conflict_do_update(index_elements=_key(table), set_=changed or new)
    return upsert


def insert_or_add(connection: Connection, table: Table, counts: Collection[str]) -> Insert:
    """An INSERT that adds these columns to those of the row with the same primary key."""
    statement = _insert(connection, table)
    added = {name: table.c[name] + statement.excluded[name] for name in counts}
    upsert: Insert = statement.on_conflict_do_update(index_elements=_key(table), set_=added)
    return upsert


def _key(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


def _insert(connection: Connection, table: Table) -> Any:
    dialects: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return dialects[connection.dialect.name](table)
