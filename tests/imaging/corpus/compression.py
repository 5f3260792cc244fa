"""Calls `compress` with default limits."""

from __future__ import annotations

from typing import Any

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.imaging.compress import Compressed, ImageLimits, compress
from gql_imgproc.imaging.options import Options

COMPRESSED, KEPT = ImageOutcome.COMPRESSED, ImageOutcome.KEPT


def compress_data(data: bytes, **options: Any) -> Compressed:
    return compress(data, Options(**options), ImageLimits())
