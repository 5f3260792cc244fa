"""Column types and clock expressions that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Double, Enum, Float
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC: `timestamptz` on PostgreSQL, seconds since 1970 on SQLite, so that SQL can calculate with it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Double() if dialect.name == "sqlite" else DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return value.timestamp() if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return datetime.fromtimestamp(value, UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class EpochSeconds(TypeDecorator[float]):
    """A `UtcDateTime` as seconds since 1970. SQLite stores more digits of them than a datetime has."""

    impl = DateTime(timezone=True)
    cache_ok = True
    load_dialect_impl = UtcDateTime.load_dialect_impl

    def process_bind_param(self, value: float | None, dialect: Dialect) -> Any:
        return value if value is None or dialect.name == "sqlite" else datetime.fromtimestamp(value, UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> float | None:
        return value.timestamp() if isinstance(value, datetime) else value


def text_enum(kind: type[Any]) -> Enum:
    """A text column with the names of an enum; a new name needs no migration."""
    return Enum(kind, native_enum=False, length=32, create_constraint=False, values_callable=list)


class now(FunctionElement[datetime]):
    """The current time by the database's clock, the only clock that all processes share."""

    type = UtcDateTime()
    inherit_cache = True
    name = "now"


class now_plus(FunctionElement[datetime]):
    """`now_plus(seconds)`: a time after (or before) now, by the database's clock."""

    type = UtcDateTime()
    inherit_cache = True
    name = "now_plus"


class seconds_since(FunctionElement[float]):
    """`seconds_since(time)`: seconds from then to now."""

    type = Float()
    inherit_cache = True
    name = "seconds_since"


_SQLITE_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


def _argument(element: FunctionElement[Any]) -> ColumnElement[Any]:
    return next(iter(element.clauses))


@compiles(now, "sqlite")
def _(element: now, compiler: Any, **kw: Any) -> str:
    return _SQLITE_NOW


@compiles(now, "postgresql")
def _(element: now, compiler: Any, **kw: Any) -> str:
    # Not now(), which is constant within a transaction; not clock_timestamp(), which cannot use an index.
    return "statement_timestamp()"


@compiles(now_plus, "sqlite")
def _(element: now_plus, compiler: Any, **kw: Any) -> str:
    return f"({_SQLITE_NOW} + {compiler.process(_argument(element), **kw)})"


@compiles(now_plus, "postgresql")
def _(element: now_plus, compiler: Any, **kw: Any) -> str:
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(_argument(element), **kw)}))"


@compiles(seconds_since, "sqlite")
def _(element: seconds_since, compiler: Any, **kw: Any) -> str:
    return f"({_SQLITE_NOW} - {compiler.process(_argument(element), **kw)})"


@compiles(seconds_since, "postgresql")
def _(element: seconds_since, compiler: Any, **kw: Any) -> str:
    since = compiler.process(_argument(element), **kw)
    return f"CAST(EXTRACT(EPOCH FROM statement_timestamp() - {since}) AS double precision)"
