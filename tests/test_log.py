"""Lines of the log: one an event, whatever strangers wrote into it."""

from __future__ import annotations

import json
import logging

from gql_imgproc.log import ConsoleFormatter, JsonFormatter

#: A second line, a colour, the same in one byte, and text that runs backwards.
HOSTILE = "/a\n12:00:00.000 info    gql_imgproc: all is well \x1b[31m\x9b31m \u202egnp"


def record(message: str, fault: BaseException | None = None, **fields: object) -> logging.LogRecord:
    told = (type(fault), fault, fault.__traceback__) if fault else None
    made = logging.LogRecord("gql_imgproc.web", logging.ERROR, "", 0, message, (), told)
    vars(made).update(fields)
    return made


def test_what_a_stranger_wrote_stays_in_its_line_and_does_not_steer_the_terminal() -> None:
    line = ConsoleFormatter().format(record("Lampe für 3 €", path=HOSTILE))

    assert line.endswith(
        "error   gql_imgproc.web: Lampe für 3 € path=/a\\n12:00:00.000 info    gql_imgproc: all is well "
        "\\x1b[31m\\x9b31m \\u202egnp"
    )
    assert line.isprintable()


def test_the_text_of_an_exception_is_no_line_of_ours() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        first, *others = ConsoleFormatter().format(record("failed", error)).split("\n")

    assert first.endswith("gql_imgproc.web: failed")
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  12:00:00.000 info    gql_imgproc: all is well \\x1b[31m\\x9b31m \\u202egnp"
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_json_is_one_line_for_a_program() -> None:
    line = JsonFormatter().format(record("failed", path=HOSTILE))

    assert "\n" not in line
    assert json.loads(line)["path"] == HOSTILE
