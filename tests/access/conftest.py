"""Fixtures of services: a real runtime and an image host."""

from tests.support.services import image_host, runtime, settings

__all__ = ["image_host", "runtime", "settings"]
