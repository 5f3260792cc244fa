"""Logging: one line an event, to standard error. Addresses lose what may be secret in them, wherever they come from."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from gql_imgproc.ids import IdPrefix, encode_global_id

_RESERVED = set(vars(logging.makeLogRecord({}))) | {
    # What formatters add, and the escape codes of uvicorn.
    "message",
    "asctime",
    "taskName",
    "color_message",
}
#: Names and passwords before the host of an address, and all behind its question mark, where signatures stand.
_LOGIN, _QUERY = re.compile(r"(://)[^/\s?#\"'\\@]*@"), re.compile(r"(://[^\s?\"'\\<>]*\?)[^\s\"'\\<>]+")
_NAMED = {"request": IdPrefix.REQUEST, "product": IdPrefix.PRODUCT, "image": IdPrefix.IMAGE}


def _context(record: logging.LogRecord) -> dict[str, Any]:
    return {key: _to_global_id(key, value) for key, value in vars(record).items() if key not in _RESERVED}


def _to_global_id(key: str, value: Any) -> Any:
    """An identifier as callers know it: what somebody reports is found by searching for it."""
    return encode_global_id(_NAMED[key], value) if isinstance(value, UUID) and key in _NAMED else value


class JsonFormatter(logging.Formatter):
    """One JSON object a line; what was passed as `extra` becomes fields."""

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
        return _without_secrets(json.dumps(line, default=str, ensure_ascii=False))


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, event, then what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in _context(record).items())
        text = f"{at} {record.levelname.lower():7} {record.name}: {record.getMessage()}{fields}"
        line = _format_value(_without_secrets(text))
        if not record.exc_info:
            return line
        traceback = _without_secrets(self.formatException(record.exc_info)).split("\n")
        # Indented, so that what an exception repeats of a stranger's text cannot pass for a line of ours.
        return "\n".join((line, *(f"  {_format_value(part)}" for part in traceback)))


def _without_secrets(text: str) -> str:
    """The text with no more of each address than leads to its host and path."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1…", _LOGIN.sub(r"\1…@", text))


def _format_value(text: str) -> str:
    """The text with what would end a line, or steer a terminal, as Python writes it."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def set_up(level: str, style: str) -> None:
    """Sends every log line to standard error in `style`, `console` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # Lines of libraries about themselves are noise beside one line per outcome.
    for noisy in ("httpx", "httpcore", "urllib3", "alembic.runtime", "dramatiq.middleware.asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Each try to reach a collector that is away; that it was given up is an error.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    # At DEBUG it repeats the heads and frames of WebSockets, with the keys that are in them.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, logging.getLogger().level))
