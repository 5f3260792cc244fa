"""The module that `dramatiq worker_main` loads: it imports the broker and, with it, all actors."""

import sys

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.system.process import CANNOT_START

try:
    from gql_imgproc.worker.actors import broker
except ConfigurationError as error:
    # When `dramatiq` is started directly, the settings have not been checked before.
    sys.stderr.write(f"gql-imgproc: {error}\n")
    sys.exit(CANNOT_START)

__all__ = ["broker"]
