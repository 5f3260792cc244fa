"""The folder for database and files, when they are on this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gql_imgproc.errors import ConfigurationError

if sys.platform != "win32":
    import fcntl

#: File in the data folder that a running `up` holds locked; in it the number of its process.
_LOCK = "up.lock"


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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a writable folder for this process alone; raises ConfigurationError when another `up` has it.

    The kernel gives the lock back however the process ends. Its children have no part in it: they do not inherit
    the file. Does nothing on Windows, which has no such locks.
    """
    if sys.platform == "win32":
        yield
        return
    with (folder / _LOCK).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"The data folder {folder.absolute()} is in use by a running `gql-imgproc up` "
                f"(process {file.read().strip() or 'unknown'}). Stop that one, or choose another with --data-dir"
            ) from None
        except OSError:
            # A file system without locks: as good as Windows.
            yield
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
