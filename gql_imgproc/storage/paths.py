"""Where things are: paths below the public address, and keys in the object store.

A picture's object is named after its image and the lease under which it was made, an output CSV after the hold, so
that who lost them can never overwrite what a successor stored; hence pictures are immutable and cached for ever.
"""

from __future__ import annotations

import re
from uuid import UUID

from gql_imgproc.ids import IdPrefix, decode_request_id, encode_global_id

#: `REQUEST/IMAGE-TOKEN.EXT`; what is not of this form names nothing in the store.
_IMAGE_PATH = re.compile(r"([0-9a-f]{32})/([0-9a-f]{32}-[0-9]{1,9}\.[a-z0-9]{2,5})")

_IMAGE_KEY = re.compile(r"requests/[0-9a-f]{32}/images/([0-9a-f]{32})-[0-9]{1,9}\.[a-z0-9]{2,5}")


def object_name(image_id: UUID, lease_token: int, extension: str) -> str:
    return f"{image_id.hex}-{lease_token}.{extension}"


def image_path(request_id: UUID, name: str) -> str:
    """Path of a stored picture, to be put behind the public address."""
    return f"/api/image/{request_id.hex}/{name}"


def image_key(request_id: UUID, name: str) -> str:
    return f"requests/{request_id.hex}/images/{name}"


def image_key_from(path: str) -> str | None:
    """Key of the picture that the end of a path names; None when it is not of our form."""
    match = _IMAGE_PATH.fullmatch(path)
    return f"requests/{match[1]}/images/{match[2]}" if match else None


def download_path(request_id: UUID) -> str:
    """Path of the output CSV, to be put behind the public address."""
    return f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def source_path(image_id: str) -> str:
    """Path below which the source of an image is fetched anew; by its outside identifier."""
    return f"/api/source/{image_id}"


def request_id_in(path: str) -> UUID | None:
    """The request that the end of a download path names: its identifier, or a bare UUID."""
    if named := decode_request_id(path):
        return named
    try:
        return UUID(path)
    except ValueError:
        return None


#: Everything that is stored is below this key, in a folder for each request.
REQUESTS = "requests/"


def request_prefix(request_id: UUID) -> str:
    """Everything of a request is below this key."""
    return f"{REQUESTS}{request_id.hex}/"


def request_id_of(key: str) -> UUID:
    """The request whose object this is."""
    return UUID(hex=key.removeprefix(REQUESTS).partition("/")[0])


def image_id_in(key: str) -> UUID | None:
    """The image whose picture the key of an object is for; None when it is for something else."""
    match = _IMAGE_KEY.fullmatch(key)
    return UUID(match[1]) if match else None


def input_key(request_id: UUID) -> str:
    return f"requests/{request_id.hex}/input.csv"


def output_name(lease_token: int) -> str:
    """Of the hold under which it is written: who lost that hold writes an object that no row names."""
    return f"output-{lease_token}.csv"


def output_key(request_id: UUID, name: str) -> str:
    return f"requests/{request_id.hex}/{name}"
