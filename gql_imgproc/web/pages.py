"""The web page, GraphiQL, and a JSON index of the routes."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from gql_imgproc import __version__
from gql_imgproc.runtime import Runtime
from gql_imgproc.web.security_headers import content_security_policy

#: Folder of the built page. It does not exist in a checkout without a build.
STATIC = Path(__file__).with_name("static")

_NOT_BUILT = (
    "The web page is not built. Run `make setup` to build it, or install the package.\n"
    "The API works without the page: POST to /graphql; see the README.\n"
)

_GRAPHIQL_DISABLED = (
    "GraphiQL is disabled. The operator can enable it with IMGPROC_INTROSPECTION=on.\n"
    "The API works without GraphiQL: POST to /graphql.\n"
)


async def serve_index(request: Request) -> Response:
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "text/html" not in accept:
        return _route_index(request)
    return _serve_page("index.html")


def serve_graphiql(request: Request) -> Response:
    runtime: Runtime = request.app.state.runtime
    if runtime.settings.introspection != "on":
        return PlainTextResponse(_GRAPHIQL_DISABLED, 404)
    response = _serve_page("graphiql.html")
    # GraphiQL's editor and dialogs create style elements.
    endpoint = runtime.storage.public_endpoint
    response.headers["Content-Security-Policy"] = content_security_policy(
        endpoint.origins if endpoint else (), inline_styles=True
    )
    return response


def wants_graphiql(scope: Scope) -> bool:
    """Whether a browser requests the GraphiQL page, and not the result of a query."""
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    request = Request(scope)
    return "text/html" in request.headers.get("accept", "") and "query" not in request.query_params


def _serve_page(name: str) -> Response:
    path = STATIC / name
    if not path.is_file():
        return PlainTextResponse(_NOT_BUILT, 503)
    return FileResponse(path, headers={"Cache-Control": "no-cache"}, media_type="text/html")


def _route_index(request: Request) -> Response:
    base = request.app.state.runtime.settings.public_url
    paths = {
        "graphql": "/graphql",
        "download": "/api/download/{request_id}",
        "report": "/api/report/{request_id}",
        "archive": "/api/archive/{request_id}",
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
            "urls": {name: base + path for name, path in paths.items()},
        }
    )
