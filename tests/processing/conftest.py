"""Fixtures: settings, a runtime, an image host."""

from tests.support.services import image_host, runtime, settings

__all__ = ["image_host", "runtime", "settings"]
