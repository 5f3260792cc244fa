"""What `dramatiq worker_main` runs: the broker, and with it every actor."""

import sys

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.system.process import CANNOT_START

try:
    from gql_imgproc.worker.actors import broker
except ConfigurationError as error:
    # Started by `dramatiq` itself, nobody else has looked at the settings.
    sys.stderr.write(f"gql-imgproc: {error}\n")
    sys.exit(CANNOT_START)

__all__ = ["broker"]
