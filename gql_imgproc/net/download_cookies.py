"""The cookies of one download: hosts do not share them, and none outlives the download."""

from __future__ import annotations

import httpx

from gql_imgproc.net.target import Target


class DownloadCookies:
    def __init__(self) -> None:
        self._jars: dict[str, httpx.Cookies] = {}

    def store(self, target: Target, set_cookie: str) -> None:
        """Store the cookies of a response, whose headers `Set-Cookie` are separated by line feeds."""
        if not set_cookie:
            return
        headers = [(b"set-cookie", line.encode()) for line in set_cookie.split("\n")]
        request = httpx.Request("GET", _url(target))
        jar = self._jars.setdefault(target.host, httpx.Cookies())
        jar.extract_cookies(httpx.Response(200, headers=headers, request=request))

    def header(self, target: Target) -> str:
        """The value of the header `Cookie`; empty if there are no cookies for this URL."""
        if (jar := self._jars.get(target.host)) is None:
            return ""
        request = httpx.Request("GET", _url(target))
        request.headers.encoding = "utf-8"
        jar.set_cookie_header(request)
        return str(request.headers.get("cookie", ""))


def _url(target: Target) -> str:
    return f"{target.scheme}://{target.authority}{target.path}"
