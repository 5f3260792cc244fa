"""Lines of the log: one an event, whatever strangers wrote into it."""

from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gql_imgproc.database.engine import Database
from gql_imgproc.ids import new_id
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


#: As they come from people's CSV files, from settings, and in the texts of other people's exceptions.
SECRETS = [
    "https://shop.example/a.jpg?X-Amz-Signature=hidden&x=1",
    "ValueError: cannot read 'https://shop.example/a.jpg?sig=hidden'",
    '{"url": "https://shop.example/a.jpg?sig=hidden"}',
    "postgresql+psycopg://user:hidden@db.example/imgproc",
    "redis://:hidden@10.0.0.1:6379/0 refused the connection",
    "https://hidden@shop.example?hidden, then https://user:hidden@shop.example/?hidden#hidden",
]


@pytest.mark.parametrize("formatter", [ConsoleFormatter(), JsonFormatter()])
@pytest.mark.parametrize("secret", SECRETS)
def test_addresses_lose_their_secrets_wherever_they_stand(secret: str, formatter: logging.Formatter) -> None:
    try:
        raise ValueError(secret)
    except ValueError as error:
        told = formatter.format(record(f"about {secret}", error, reason=secret, several=[secret]))

    assert "hidden" not in told
    assert "example" in told or "10.0.0.1" in told
    if isinstance(formatter, JsonFormatter):
        assert json.loads(told)["logger"] == "gql_imgproc.web"


def test_what_has_no_secrets_is_told_as_it_is() -> None:
    line = ConsoleFormatter().format(
        record("Is https://shop.example/a.jpg there? See file:///data, or ask", path="/?a=b")
    )

    assert line.endswith("Is https://shop.example/a.jpg there? See file:///data, or ask path=/?a=b")


def test_identifiers_are_those_that_callers_know() -> None:
    request, product, image, other = (new_id() for _ in range(4))
    told = json.loads(JsonFormatter().format(record("x", request=request, product=product, image=image, other=other)))

    assert told["request"] == f"req_{request.hex}"
    assert told["product"] == f"prd_{product.hex}"
    assert told["image"] == f"img_{image.hex}"
    assert told["other"] == str(other)


def test_a_failed_statement_does_not_tell_its_values(database: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        database.write_now(
            lambda connection: connection.execute(text("INSERT INTO nothing VALUES (:u)"), {"u": "s3cr3t"})
        )

    assert "nothing" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
