"""Errors of this package that no caller sees."""

from __future__ import annotations


class CsvChanged(Exception):
    """The stored CSV has another number of rows than when it was accepted."""
