"""Logging: one line per event, to standard error. Secrets are removed from every URL in a line."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gql_imgproc.ids import IdPrefix, encode_global_id

_RESERVED = set(vars(logging.makeLogRecord({}))) | {
    # Attributes that formatters add, and the escape codes of uvicorn.
    "message",
    "asctime",
    "taskName",
    "color_message",
}
#: The user info of a URL (user name and password), and its query string, where signatures are.
_USER_INFO, _QUERY = re.compile(r"(://)[^/\s?#\"'\\@]*@"), re.compile(r"(://[^\s?\"'\\<>]*\?)[^\s\"'\\<>]+")
_ID_FIELDS = {"request": IdPrefix.REQUEST, "product": IdPrefix.PRODUCT, "image": IdPrefix.IMAGE}


def _context(record: logging.LogRecord) -> dict[str, Any]:
    return {key: _to_global_id(key, value) for key, value in vars(record).items() if key not in _RESERVED}


def _to_global_id(key: str, value: Any) -> Any:
    """The ID that callers use, so that an operator can search the log for an ID that a user reports."""
    return encode_global_id(_ID_FIELDS[key], value) if isinstance(value, UUID) and key in _ID_FIELDS else value


class JsonFormatter(logging.Formatter):
    """One JSON object per line; `extra` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_context(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _redact_urls(json.dumps(line, default=str, ensure_ascii=False))


class ConsoleFormatter(logging.Formatter):
    """One line of text: time, level, event, then `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in _context(record).items())
        text = f"{at} {record.levelname.lower():7} {record.name}: {record.getMessage()}{fields}"
        line = _escape_unprintable(_redact_urls(text))
        if not record.exc_info:
            return line
        traceback = _redact_urls(self.formatException(record.exc_info)).split("\n")
        # Indented, so that untrusted text in an exception cannot look like a log line.
        return "\n".join((line, *(f"  {_escape_unprintable(part)}" for part in traceback)))


def _redact_urls(text: str) -> str:
    """Removes user info and query string from every URL in the text."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1…", _USER_INFO.sub(r"\1…@", text))


def _escape_unprintable(text: str) -> str:
    """Escapes line breaks and control sequences as Python writes them."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


class StandardErrorHandler(logging.Handler):
    """Writes each event in one call to the standard error that this process was started with.

    So the lines of several processes do not mix: a file keeps all of them whole, a pipe those of up to 4 KiB. In a
    worker, `sys.stderr` is a pipe to the Dramatiq master, which would have to copy every line.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if sys.__stderr__ is None:
            return
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:
            self.handleError(record)
            return
        # Where standard error is gone, nobody can be informed.
        with suppress(OSError, ValueError):
            descriptor = sys.__stderr__.fileno()
            while line:
                line = line[os.write(descriptor, line) :]


def set_up(level: str, style: str) -> None:
    """Sends every log line to standard error in `style`, `console` or `json`."""
    handler = StandardErrorHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Routine lines of these libraries would hide the one line per outcome.
    for noisy in ("httpx", "httpcore", "urllib3", "alembic.runtime", "dramatiq.middleware.asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Warns about each attempt while the collector is down; giving up is logged as an error.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    # At DEBUG it logs the headers and frames of WebSockets, which contain API keys.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, logging.getLogger().level))
