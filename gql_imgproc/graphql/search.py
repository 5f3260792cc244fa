"""Searching products by name."""

from __future__ import annotations

from typing import Annotated

import strawberry

from gql_imgproc.graphql.faults import bad_input
from gql_imgproc.graphql.paging import given

#: Longest text that is searched for, in characters.
MAX_SEARCH_CHARS = 200

NameContains = Annotated[str | None, strawberry.argument(description="Only products whose name contains this text.")]


def searched(text: str | None) -> str | None:
    """The text to look for; None when everything is wanted."""
    text = given(text)
    if text is not None and len(text) > MAX_SEARCH_CHARS:
        raise bad_input(f"`nameContains` may have at most {MAX_SEARCH_CHARS} characters.")
    if text is not None and "\0" in text:
        raise bad_input("`nameContains` may not contain the character NUL.")
    return text or None
