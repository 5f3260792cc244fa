"""Log lines: one per event, even with untrusted text, and without secrets."""

from __future__ import annotations

import json
import logging

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gql_imgproc.database.engine import Database
from gql_imgproc.ids import new_id
from gql_imgproc.log import ConsoleFormatter, JsonFormatter

#: A second line, a color as an escape sequence and as a one-byte control character, and right-to-left text.
HOSTILE = "/a\n12:00:00.000 info    gql_imgproc: all is well \x1b[31m\x9b31m \u202egnp"


def log_record(message: str, error: BaseException | None = None, **fields: object) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("gql_imgproc.web", logging.ERROR, "", 0, message, (), exc_info)
    vars(record).update(fields)
    return record


def test_untrusted_text_stays_in_its_line_and_contains_no_terminal_control() -> None:
    line = ConsoleFormatter().format(log_record("Lampe für 3 €", path=HOSTILE))

    assert line.endswith(
        "error   gql_imgproc.web: Lampe für 3 € path=/a\\n12:00:00.000 info    gql_imgproc: all is well "
        "\\x1b[31m\\x9b31m \\u202egnp"
    )
    assert line.isprintable()


def test_the_text_of_an_exception_cannot_imitate_a_log_line() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        first, *others = ConsoleFormatter().format(log_record("failed", error)).split("\n")

    assert first.endswith("gql_imgproc.web: failed")
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  12:00:00.000 info    gql_imgproc: all is well \\x1b[31m\\x9b31m \\u202egnp"
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_json_is_one_line() -> None:
    line = JsonFormatter().format(log_record("failed", path=HOSTILE))

    assert "\n" not in line
    assert json.loads(line)["path"] == HOSTILE


#: Secrets from CSV files, from settings, and in exceptions of other libraries.
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
def test_urls_lose_their_secrets_everywhere_in_a_line(secret: str, formatter: logging.Formatter) -> None:
    try:
        raise ValueError(secret)
    except ValueError as error:
        line = formatter.format(log_record(f"about {secret}", error, reason=secret, several=[secret]))

    assert "hidden" not in line
    assert "example" in line or "10.0.0.1" in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["logger"] == "gql_imgproc.web"


def test_text_without_secrets_is_unchanged() -> None:
    line = ConsoleFormatter().format(
        log_record("Is https://shop.example/a.jpg there? See file:///data, or ask", path="/?a=b")
    )

    assert line.endswith("Is https://shop.example/a.jpg there? See file:///data, or ask path=/?a=b")


def test_ids_are_the_global_ids_that_callers_use() -> None:
    request, product, image, other = (new_id() for _ in range(4))

    line = JsonFormatter().format(log_record("x", request=request, product=product, image=image, other=other))

    fields = json.loads(line)
    assert fields["request"] == f"req_{request.hex}"
    assert fields["product"] == f"prd_{product.hex}"
    assert fields["image"] == f"img_{image.hex}"
    assert fields["other"] == str(other)


def test_a_failed_statement_hides_its_values(database: Database) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("INSERT INTO nothing VALUES (:value)"), {"value": "s3cr3t"})

    with pytest.raises(DBAPIError) as caught:
        database.write_now(fail)

    assert "nothing" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)
