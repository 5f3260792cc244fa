"""Stand-in for Grafana: reads its mounted files, writes its volume, and answers its health check."""

from __future__ import annotations

import http.server
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    do_HEAD = do_GET


for folder in ("/etc/grafana/provisioning/dashboards", "/var/lib/grafana/dashboards"):
    assert any(Path(folder).iterdir()), folder
Path("/var/lib/grafana/grafana.db").write_text("written")
http.server.ThreadingHTTPServer(("", 3000), Handler).serve_forever()
