"""Chooses which output of an image a client gets at a URL that names several."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request

from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.net.accept import Accept
from gql_imgproc.requests.repository import renditions
from gql_imgproc.requests.repository.renditions import Rendition
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import ImagePath, image_key, rendition_id_from_key


async def rank_objects(request: Request, path: ImagePath) -> list[str]:
    """The keys of the objects that the client accepts, best first. The one of the path is always among them."""
    own_id = rendition_id_from_key(path.key)
    accept = Accept(",".join(request.headers.getlist("accept")))
    if not path.alternatives or own_id is None or not _names_a_format(accept):
        return [path.key]
    runtime: Runtime = request.app.state.runtime
    try:
        found = await runtime.db.read(renditions.of_same_source, own_id, [own_id, *path.alternatives])
    except DatabaseUnavailable:
        # Other URLs of images need no database either.
        return [path.key]
    keys = [image_key(each.stored_by, each.object_name) for each in _rank(accept, own_id, found)]
    return keys if path.key in keys else [*keys, path.key]


def _names_a_format(accept: Accept) -> bool:
    return any(name.startswith("image/") and name != "image/*" for name in accept.names())


def _rank(accept: Accept, own_id: UUID, found: list[Rendition]) -> list[Rendition]:
    """Those that are acceptable: the highest weight first, then the smallest file."""

    def weigh(each: Rendition) -> float:
        # A client that accepts every type may know fewer: it gets another one only if it names that.
        return accept.weight(each.format) if each.id == own_id else accept.named_weight(each.format)

    acceptable = filter(weigh, found)
    return sorted(acceptable, key=lambda each: (-weigh(each), each.output_bytes, each.id != own_id))
