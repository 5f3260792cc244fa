"""A module for `dramatiq` whose processes log `LOGGED_LINES` lines after SIGUSR1."""

from __future__ import annotations

import logging
import os
import signal

import dramatiq
from dramatiq.brokers.stub import StubBroker

from gql_imgproc import log

log.set_up("info", "console")
logger = logging.getLogger("gql_imgproc")


def log_lines(*_: object) -> None:
    for number in range(int(os.environ["LOGGED_LINES"])):
        logger.info("line", extra={"pid": os.getpid(), "number": number, "text": "x" * (number % 7 * 600)})


broker = StubBroker(middleware=[])
dramatiq.set_broker(broker)
signal.signal(signal.SIGUSR1, log_lines)
logger.info("ready", extra={"pid": os.getpid()})
