"""Formats the errors of invalid settings: the variable, its value, and what to use instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gql_imgproc.settings_files import Hidden

#: Settings whose value is never shown.
_SECRET = {"api_key", "secrets_key", "webhook_secret"}
#: Longest part of a value that is shown, in characters.
_MAX_SHOWN_CHARS = 80

_MESSAGES = {
    "int_parsing": "use a whole number",
    "int_parsing_size": "use a smaller number",
    "int_from_float": "use a whole number",
    "float_parsing": "use a number",
    "finite_number": "use a number",
    "greater_than": "use a number above {gt}",
    "greater_than_equal": "use {ge} or more",
    "less_than": "use a number below {lt}",
    "less_than_equal": "use {le} or less",
    "byte_size": "use a size such as `20MiB`, or a number of bytes",
    "byte_size_unit": "use a size such as `20MiB`, or a number of bytes",
    "value_error": "{error}",
    "path_type": "use the path of a folder",
}


def format_settings_errors(error: ValidationError) -> str:
    """Returns all errors in one line."""
    # One message per variable: pydantic reports an error for each type that a value may have.
    lines = {str(detail["loc"][:1]): _format_error(detail) for detail in reversed(error.errors())}
    return "; ".join(reversed(lines.values()))


def _format_error(detail: Mapping[str, Any]) -> str:
    message = _format_message(detail)
    if not detail["loc"]:
        # Settings that contradict each other: the message names them.
        return message
    variable = f"IMGPROC_{detail['loc'][0]}".upper()
    if isinstance(detail["input"], Hidden):
        return f"{variable}_FILE: {message}"
    if detail["loc"][0] in _SECRET:
        return f"{variable}: {message}"
    return f"{variable}: `{_redact(detail['input'])}` cannot be used: {message}"


def _format_message(detail: Mapping[str, Any]) -> str:
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        return "use " + str(context["expected"]).replace("'", "`")
    # Write the limits as in the environment, without a trailing `.0`.
    context = {name: f"{entry:.15g}" if isinstance(entry, (int, float)) else entry for name, entry in context.items()}
    template = _MESSAGES.get(detail["type"])
    return template.format(**context) if template else str(detail["msg"])


def _redact(value: object) -> str:
    """Removes the secrets of a URL and terminal control sequences from a value, and shortens it."""
    text = re.sub(r"^([a-z0-9+.-]+://|).*@", r"\1***@", str(value), flags=re.IGNORECASE | re.DOTALL)
    if "://" in text:
        text = re.sub(r"\?.*", "?***", text, flags=re.DOTALL)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:_MAX_SHOWN_CHARS]}…"
