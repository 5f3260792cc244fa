"""Fixtures of services: a real runtime and a host of images."""

from tests.support.services import image_host, runtime, settings

__all__ = ["image_host", "runtime", "settings"]
