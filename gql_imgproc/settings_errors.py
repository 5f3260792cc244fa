"""Words for settings that are refused: which variable, what it was, what to use instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

#: Variables whose value is never shown.
_SECRET = {"api_key", "webhook_secret"}
#: Most of a value that is shown, in characters: enough to find it again.
_SHOWN_CHARS = 80

_WORDS = {
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
    """All that is wrong, in one line."""
    # One sentence a variable: a value that may be of several types has a fault for each.
    lines = {str(fault["loc"][:1]): _line(fault) for fault in reversed(error.errors())}
    return "; ".join(reversed(lines.values()))


def _line(fault: Mapping[str, Any]) -> str:
    words = _words(fault)
    if not fault["loc"]:
        # Several settings that do not go together: the message names them.
        return words
    name = str(fault["loc"][0])
    if name in _SECRET:
        return f"IMGPROC_{name.upper()}: {words}"
    return f"IMGPROC_{name.upper()}: `{_shown(fault['input'])}` cannot be used: {words}"


def _words(fault: Mapping[str, Any]) -> str:
    # Limits as they would be written in the environment.
    context = {
        name: f"{entry:.15g}" if isinstance(entry, (int, float)) else entry
        for name, entry in fault.get("ctx", {}).items()
    }
    if fault["type"] == "literal_error":
        return "use " + str(context["expected"]).replace("'", "`")
    words = _WORDS.get(fault["type"])
    return words.format(**context) if words else str(fault["msg"])


def _shown(value: object) -> str:
    """A value without the secrets that an address may contain, and without what would steer a terminal."""
    text = re.sub(r"^([a-z0-9+.-]+://|).*@", r"\1***@", str(value), flags=re.IGNORECASE | re.DOTALL)
    if "://" in text:
        text = re.sub(r"\?.*", "?***", text, flags=re.DOTALL)
    text = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
