"""URL paths, and keys in the object store.

The name of a compressed image contains the lease token of its product. The name of an output CSV contains the lease
token of its request. So a worker that lost its lease can never overwrite the object of its successor, and images are
immutable.
"""

from __future__ import annotations

import re
from uuid import UUID

from gql_imgproc.ids import IdPrefix, decode_request_id, encode_global_id

#: `REQUEST/IMAGE-TOKEN.EXT`, the end of an image path.
_IMAGE_PATH = re.compile(r"([0-9a-f]{32})/([0-9a-f]{32}-[0-9]{1,9}\.[a-z0-9]{2,5})")

_IMAGE_KEY = re.compile(r"requests/[0-9a-f]{32}/images/([0-9a-f]{32})-[0-9]{1,9}\.[a-z0-9]{2,5}")


def object_name(image_id: UUID, lease_token: int, extension: str) -> str:
    return f"{image_id.hex}-{lease_token}.{extension}"


def image_path(request_id: UUID, name: str) -> str:
    return f"/api/image/{request_id.hex}/{name}"


def image_key(request_id: UUID, name: str) -> str:
    return f"requests/{request_id.hex}/images/{name}"


def image_key_from_path(path: str) -> str | None:
    """Return the key of an image from the end of its path; None if the path is malformed."""
    match = _IMAGE_PATH.fullmatch(path)
    return f"requests/{match[1]}/images/{match[2]}" if match else None


def download_path(request_id: UUID) -> str:
    return f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def source_path(image_id: str) -> str:
    """Path that downloads the source of an image again. `image_id` is the global ID."""
    return f"/api/source/{image_id}"


def request_id_from_path(path: str) -> UUID | None:
    """Return the request from the end of a download path: a global ID or a UUID."""
    if request_id := decode_request_id(path):
        return request_id
    try:
        return UUID(path)
    except ValueError:
        return None


#: All objects have this prefix, followed by the ID of their request.
REQUESTS_PREFIX = "requests/"


def request_prefix(request_id: UUID) -> str:
    return f"{REQUESTS_PREFIX}{request_id.hex}/"


def request_id_from_key(key: str) -> UUID:
    return UUID(hex=key.removeprefix(REQUESTS_PREFIX).partition("/")[0])


def image_id_from_key(key: str) -> UUID | None:
    """Return the image of an object; None if the object is no compressed image."""
    match = _IMAGE_KEY.fullmatch(key)
    return UUID(match[1]) if match else None


def input_key(request_id: UUID) -> str:
    return f"requests/{request_id.hex}/input.csv"


def output_name(lease_token: int) -> str:
    return f"output-{lease_token}.csv"


def output_key(request_id: UUID, name: str) -> str:
    return f"requests/{request_id.hex}/{name}"
