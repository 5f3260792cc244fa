"""The images that are leased to this process, until their results are recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from uuid import UUID

from gql_imgproc.requests.repository import claims
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)


class Leases:
    """`on_lost` is called with images whose leases could not be renewed, since another process may have them."""

    def __init__(self, runtime: Runtime, on_lost: Callable[[Collection[ClaimedImage]], None]) -> None:
        self._runtime = runtime
        self._on_lost = on_lost
        self._images: dict[UUID, ClaimedImage] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[ClaimedImage]:
        return iter(self._images.values())

    def add(self, image: ClaimedImage) -> None:
        """Renews the lease of this image from now on."""
        self._images[image.id] = image

    def forget(self, images: Iterable[ClaimedImage]) -> None:
        """Renews the leases of these images no longer."""
        for image in images:
            # Not a newer claim of the same image.
            if self._images.get(image.id) is image:
                del self._images[image.id]

    async def renew(self, lease_s: float) -> bool:
        """Renews all leases. False when the database did not answer."""
        images = list(self)
        if not images:
            return True
        try:
            renewed = await self._runtime.db.write(claims.renew_leases, images, lease_s)
        except Exception as error:
            log.warning("lease renewal failed", extra={"reason": str(error)})
            return False
        if lost := [image for image in images if image.id not in renewed]:
            self.forget(lost)
            self._on_lost(lost)
        return True
