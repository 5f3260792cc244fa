"""The web page, GraphiQL, and what the address of the service says to a program."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from gql_imgproc import __version__
from gql_imgproc.runtime import Runtime
from gql_imgproc.web.security_headers import content_security_policy

#: The built page; there is none in a checkout where it was not built.
STATIC = Path(__file__).with_name("static")

_NOT_BUILT = (
    "The web page is not built. Run `make setup`, which builds it, or install the package.\n"
    "The API works without it: POST to /graphql; see the README.\n"
)

_NO_EXPLORER = (
    "There is no GraphiQL here. Whoever runs the service can switch it on with IMGPROC_INTROSPECTION=on.\n"
    "The API works without it: POST to /graphql.\n"
)


async def index(request: Request) -> Response:
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "text/html" not in accept:
        return _addresses(request)
    return _page("index.html")


def graphiql(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    if runtime.settings.introspection != "on":
        return PlainTextResponse(_NO_EXPLORER, 404)
    response = _page("graphiql.html")
    # Its editor and dialogs write style elements.
    outlet = runtime.storage.public_endpoint
    response.headers["Content-Security-Policy"] = content_security_policy(
        outlet.origins if outlet else (), inline_styles=True
    )
    return response


def wants_graphiql(scope: Scope) -> bool:
    """Whether this is a person with a browser who came to look."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    request = Request(scope)
    return "text/html" in request.headers.get("accept", "") and "query" not in request.query_params


def _page(name: str) -> Response:
    path = STATIC / name
    if not path.is_file():
        return PlainTextResponse(_NOT_BUILT, 503)
    return FileResponse(path, headers={"Cache-Control": "no-cache"}, media_type="text/html")


def _addresses(request: Request) -> Response:
    base = request.app.state.runtime.settings.public_url
    paths = {
        "graphql": "/graphql",
        "download": "/api/download/{request_id}",
        "image": "/api/image/{key}",
        "source": "/api/source/{image_id}",
        "health": "/healthz",
        "readiness": "/readyz",
        "metrics": "/metrics",
    }
    return JSONResponse(
        {
            "name": "gql_imgproc",
            "version": __version__,
            "addresses": {name: base + path for name, path in paths.items()},
        }
    )
