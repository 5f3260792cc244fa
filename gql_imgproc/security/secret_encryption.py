"""Encryption of secrets that are stored in the database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gql_imgproc.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

GENERATE_KEY = "head -c 32 /dev/urandom | base64 | tr '+/' '-_'"


def parse_secrets_keys(text: str) -> MultiFernet:
    """Parse the keys of a setting: the first one encrypts, all decrypt; separated by commas or spaces.

    Raises ConfigurationError for an invalid key. The message does not contain it.
    """
    # Imported here: most commands have no such key.
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(key) for key in re.split(r"[,\s]+", text) if key])
    except ValueError:
        raise ConfigurationError(
            f"Each key must be 32 random bytes in URL-safe base64. Generate one with `{GENERATE_KEY}`."
        ) from None
