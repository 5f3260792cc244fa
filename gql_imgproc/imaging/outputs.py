"""Compresses an image into several files, and decodes it once for all of them that need the same pixels."""

from __future__ import annotations

from collections.abc import Mapping

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging import transform
from gql_imgproc.imaging.compress import Compressed, compress_opened
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import open_image


def compress_outputs(data: bytes, outputs: Mapping[str | None, Options], limits: ImageLimits) -> list[Compressed]:
    """Returns the file of each output, by the name of the output, with the bytes that `compress` returns for it.

    Raises ImageError if one of them fails; its message begins with the name of that output.
    """
    opened: dict[int, OpenedImage] = {}
    results = []
    for name, options in outputs.items():
        try:
            results.append(_compress_output(data, options, limits, opened))
        except ImageError as error:
            if name is None or error.code is ImageErrorCode.CORRUPT:
                raise
            raise ImageError(error.code, f"Output {name}: {error.message}", retryable=error.retryable) from error
    return results


def _compress_output(data: bytes, options: Options, limits: ImageLimits, opened: dict[int, OpenedImage]) -> Compressed:
    """`opened`: sources that are decoded at a part of their size, by the divisor of the size."""
    source = opened.get(1) or open_image(data, limits)
    if source.structure.frames > 1 or source.format.name == "TIFF":
        # Decoding leaves them at another frame, and a TIFF with other tags.
        return compress_opened(source, options, limits)
    opened.setdefault(1, source)
    divisor = _draft_divisor(source, options)
    if divisor > 1:
        source = opened.get(divisor) or opened.setdefault(divisor, open_image(data, limits))
    return compress_opened(source, options, limits)


def _draft_divisor(source: OpenedImage, options: Options) -> int:
    """Only a JPEG is decoded at a part of its size, and not to find its border."""
    plan = transform.make_plan(options, source.structure.displayed_size)
    is_drafted = source.format.name == "JPEG" and plan.is_scaled and plan.crop is None and not options.trim
    return transform.draft_divisor(plan) if is_drafted else 1
