"""Scripts and styles of the pages, served compressed to clients that accept it."""

from __future__ import annotations

import os

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from gql_imgproc.net.accept import Accept

#: Content codings and the suffixes of the compressed files, the smallest first. Browsers accept Brotli only over HTTPS
#: and from localhost.
CODINGS = {"br": ".br", "gzip": ".gz"}


class StaticAssets(StaticFiles):
    """Serves static files. Names in `assets` contain a content hash, so browsers cache those for a year."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await self._open_compressed(path, scope) or await super().get_response(path, scope)
        is_hashed = path.startswith(f"assets{os.sep}") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def _open_compressed(self, path: str, scope: Scope) -> Response | None:
        for coding in accepted_encodings(Headers(scope=scope).get("accept-encoding", "")):
            try:
                response = await super().get_response(path + CODINGS[coding], scope)
            except HTTPException as error:
                if error.status_code == 404:
                    continue
                raise
            response.headers["Content-Encoding"] = coding
            return response
        return None


def accepted_encodings(header: str) -> list[str]:
    """Returns the codings that an Accept-Encoding header accepts, in the order of CODINGS."""
    accepted = Accept(header).names()
    return [coding for coding in CODINGS if coding in accepted]
