"""Scripts and styles of the pages, sent compressed to whom understands it."""

from __future__ import annotations

import os

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

#: What the build lays beside a file, the smaller first. Browsers take Brotli over HTTPS and from this machine only.
CODINGS = {"br": ".br", "gzip": ".gz"}


class StaticAssets(StaticFiles):
    """The names of those in `assets` tell their content, so they are kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await self._compressed(path, scope) or await super().get_response(path, scope)
        named_by_content = path.startswith(f"assets{os.sep}") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if named_by_content else "no-cache"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    async def _compressed(self, path: str, scope: Scope) -> Response | None:
        for coding in accepted_encodings(Headers(scope=scope).get("accept-encoding", "")):
            try:
                response = await super().get_response(path + CODINGS[coding], scope)
            except HTTPException as refused:
                if refused.status_code == 404:
                    continue
                raise
            response.headers["Content-Encoding"] = coding
            return response
        return None


def accepted_encodings(header: str) -> list[str]:
    """Codings of ours that an Accept-Encoding takes, ours first; one with the weight 0 is not taken."""
    weights = dict(_parse_qvalue(entry) for entry in header.lower().split(","))
    return [coding for coding in CODINGS if weights.get(coding, 0) > 0]


def _parse_qvalue(entry: str) -> tuple[str, float]:
    name, _, weight = entry.replace(" ", "").partition(";q=")
    try:
        return name, float(weight or 1)
    except ValueError:
        return name, 0
