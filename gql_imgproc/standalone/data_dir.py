"""The data folder: whether it can be written, and the lock that keeps a second `up` out."""

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

#: File in the data folder that a running `up` locks. It contains the process ID.
_LOCK = "up.lock"


def check_writable(folder: Path) -> None:
    """Creates the folder if necessary; raises ConfigurationError when nothing can be stored in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
    except (FileExistsError, NotADirectoryError):
        raise ConfigurationError(
            f"The data folder {folder.absolute()} is a file, or is in one. Choose a folder with --data-dir"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"Cannot write to the data folder {folder.absolute()}: {error.strerror or error}. "
            "Fix its permissions, or choose another folder with --data-dir"
        ) from None


@contextmanager
def lock_data_dir(folder: Path) -> Iterator[None]:
    """Locks a writable folder for this process; raises ConfigurationError when another `up` holds the lock.

    The kernel releases the lock however the process ends. Child processes do not inherit it. Does nothing on Windows,
    which has no such locks.
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
                f"(process {file.read().strip() or 'unknown'}). Stop that process, or choose another with --data-dir"
            ) from None
        except OSError:
            # Some file systems have no locks: continue without one, as on Windows.
            yield
            return
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
