"""The folder for database and files, when they are on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gql_imgproc.errors import ConfigurationError


def check_writable(folder: Path) -> None:
    """Makes the folder if need be; raises ConfigurationError when nothing can be stored in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder.absolute()} cannot be written: {error.strerror or error}. "
            "Mend its permissions, or choose another with --data-dir"
        ) from None
