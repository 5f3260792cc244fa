"""Results of images and images without one, as they are recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Self
from uuid import UUID

from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.renditions import Rendition, Source
from gql_imgproc.requests.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Result of an image; the fields are columns of `images`."""

    status: ImageStatus
    outcome: ImageOutcome | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    rendition_id: UUID | None = None
    stored_by: UUID | None = None
    object_name: str | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    similarity: float | None = None
    error_code: ImageErrorCode | None = None
    error_message: str | None = None
    error_http_status: int | None = None
    error_retryable: bool = False

    @classmethod
    def from_rendition(cls, rendition: Rendition, outcome: ImageOutcome) -> Self:
        shared = {name: getattr(rendition, name) for name in Rendition.__slots__ if name in cls.__slots__}
        others = {"outcome": outcome, "rendition_id": rendition.id, "error_message": rendition.warning}
        return cls(ImageStatus.COMPLETED, **shared | others)


class ReturnReason(Enum):
    """Why an image is returned without a result."""

    #: A temporary failure, which counts as an attempt.
    FAILED = auto()
    #: The host asked us to slow down while it served others; that is no attempt.
    REFUSED = auto()
    #: The host asked everybody to slow down; that counts nothing.
    HOST_PAUSED = auto()
    #: The process stops, or did not begin; that is no attempt.
    GIVEN_BACK = auto()


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """An output of a completed image, and whether its object was stored for this image."""

    rendition: Rendition
    is_new: bool

    @property
    def outcome(self) -> ImageOutcome:
        return self.rendition.outcome if self.is_new else ImageOutcome.REUSED


@dataclass(frozen=True, slots=True)
class FinishedImage:
    image: ClaimedImage
    result: ImageResult
    #: Of a completed image. The first one is the image's own: its result is that of the image.
    outputs: tuple[StoredOutput, ...] = ()
    #: The bytes and validators that the download found; None if the database has them already.
    source: Source | None = None
    #: Size of a source that its host said is unchanged.
    not_downloaded_bytes: int = 0
    #: By `time.monotonic`.
    finished_at: float = field(default_factory=time.monotonic)

    @property
    def is_new(self) -> bool:
        """Whether it stored an object."""
        return any(output.is_new for output in self.outputs)

    @classmethod
    def completed(cls, image: ClaimedImage, outputs: Sequence[StoredOutput]) -> Self:
        result = ImageResult.from_rendition(outputs[0].rendition, outputs[0].outcome)
        return cls(image, result, tuple(outputs))

    def with_outputs(self, outputs: Sequence[StoredOutput]) -> Self:
        """The same result, with objects that exist."""
        if not outputs or self.result.outcome is None:
            return self
        result = ImageResult.from_rendition(outputs[0].rendition, self.result.outcome)
        return replace(self, result=result, outputs=tuple(outputs))


@dataclass(frozen=True, slots=True)
class ReturnedImage:
    """An image that is due again after `delay_s`."""

    image: ClaimedImage
    reason: ReturnReason
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a transaction recorded."""

    #: The requests of the results, with their new counters.
    snapshots: tuple[Snapshot, ...]
    #: Images whose lease was lost; nothing of them is recorded.
    lost: frozenset[UUID]
    #: Images whose rendition is not usable any more: they are processed again.
    returned: frozenset[UUID] = frozenset()
    #: Images that have more repeats than fit into one transaction. They are recorded after those: record them again.
    postponed: frozenset[UUID] = frozenset()
    #: Number of repeats that are final now, by original.
    copies: Counter[UUID] = field(default_factory=Counter)
