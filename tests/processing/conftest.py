"""Fixtures: settings, a runtime, an image host."""

from tests.support.services import control_worker, image_host, runtime, settings

__all__ = ["control_worker", "image_host", "runtime", "settings"]
