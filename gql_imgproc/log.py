"""Logging: one line an event, to standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_RESERVED = set(vars(logging.makeLogRecord({}))) | {
    # What formatters add, and the escape codes of uvicorn.
    "message",
    "asctime",
    "taskName",
    "color_message",
}


def _context(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _RESERVED}


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
        return json.dumps(line, default=str, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, event, then what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {key}={value}" for key, value in _context(record).items())
        line = _shown(f"{at} {record.levelname.lower():7} {record.name}: {record.getMessage()}{fields}")
        if not record.exc_info:
            return line
        traceback = self.formatException(record.exc_info).split("\n")
        # Indented, so that what an exception repeats of a stranger's text cannot pass for a line of ours.
        return "\n".join((line, *(f"  {_shown(part)}" for part in traceback)))


def _shown(text: str) -> str:
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
    for noisy in ("httpx", "httpcore", "alembic.runtime", "dramatiq.middleware.asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # At DEBUG it repeats the heads and frames of WebSockets, with the keys that are in them.
    logging.getLogger("uvicorn.error").setLevel(max(logging.INFO, logging.getLogger().level))
