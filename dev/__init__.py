"""Commands for contributors: `make dev` and `make seed`."""

from __future__ import annotations

from pathlib import Path

#: Everything that `make dev` writes; delete it to begin again.
DATA_DIR = Path("data") / "dev"
HOST, PORT = "127.0.0.1", 8000
URL = f"http://{HOST}:{PORT}"
#: Settings of the development server: images may be fetched from this machine, on any port.
ENVIRONMENT = {
    "IMGPROC_DATA_DIR": str(DATA_DIR),
    "IMGPROC_PUBLIC_URL": URL,
    "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
    "IMGPROC_FETCH_ALLOW_PORTS": "*",
}
