"""Fixtures of services: a real runtime and a host of images."""

from tests.support.services import control_worker, image_host, runtime, settings

__all__ = ["control_worker", "image_host", "runtime", "settings"]
