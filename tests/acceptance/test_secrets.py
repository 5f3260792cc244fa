"""A secret is shown once, to the caller who creates it; it occurs in no other output of the service."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import make_url
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gql_imgproc.access import signed_urls
from gql_imgproc.database.engine import Database
from gql_imgproc.security.api_key import generate_api_key
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.support.api_keys import bearer
from tests.support.free_port import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(400)]

UPLOAD = """mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename
  ... on UploadCsvSuccess { request { id webhook { url } } } ... on UserError { message } } }"""
REQUEST = """query($id: ID!) { request(id: $id) { status outputCsvUrl webhook { url status attempts log { error } }
  products { edges { node { outputImageUrls } } } } }"""
ADMIN = """{ viewer { name tenant } apiKeys { edges { node { publicId name scopes } } }
  webhookEndpoints { nodes { url } } auditLog { edges { node { action actor ipAddress details { name value } } } } }"""
CREATE = 'mutation { createApiKey(input: {name: "made over GraphQL"}) { ... on CreateApiKeySuccess { secret } } }'
ENDPOINT = """mutation($url: URL!) { createWebhookEndpoint(input: {url: $url, eventTypes: [REQUEST_COMPLETED]}) {
  ... on CreateWebhookEndpointSuccess { secret endpoint { id url } } } }"""
ROTATE = """mutation($id: ID) { rotateWebhookSecret(input: {endpointId: $id}) {
  ... on RotateWebhookSecretSuccess { secret } } }"""
#: Consecutive characters of a secret that count as a leak.
MIN_LEAK_CHARS = 10
WATCH = "subscription($id: ID!) { requestProgress(id: $id) { status } }"


class Outputs:
    """Everything that the service wrote, as named pieces of text."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.pieces: list[tuple[str, str]] = []
        self._folder = folder
        self._environment = environment(**settings)
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, status: int = 0) -> str:
        """Runs a command. Returns its standard output."""
        done = subprocess.run(
            [*COMMAND, *arguments], env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == status, done.stderr
        self.pieces += [(f"{arguments[0]} stdout", done.stdout), (f"{arguments[0]} stderr", done.stderr)]
        return done.stdout

    def start(self, *arguments: str) -> None:
        with (self._folder / f"{arguments[0]}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    [*COMMAND, *arguments], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def stop(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.pieces += [(path.name, path.read_text(errors="replace")) for path in self._folder.glob("*.log")]

    def count(self, secret: str) -> Counter[str]:
        """Number of occurrences by piece."""
        return Counter({name: text.count(secret) for name, text in self.pieces if secret in text})

    def leaks(self, secret: str) -> list[str]:
        """The pieces with any part of the secret: libraries truncate long values."""
        parts = [secret[start : start + MIN_LEAK_CHARS] for start in range(len(secret) - MIN_LEAK_CHARS + 1)]
        return [name for name, text in self.pieces if any(part in text for part in parts)]


class Caller:
    """A client that stores every response in the outputs."""

    def __init__(self, url: str, outputs: Outputs) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.outputs = outputs

    def query(self, key: str | None, query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        return self._store(self.http.post("/graphql", json=body, headers=bearer(key) if key else {}))

    def upload(self, key: str, csv: str, webhook: str) -> Any:
        operation = {"query": UPLOAD, "variables": {"input": {"file": None, "webhookUrl": webhook}}}
        return self._store(
            self.http.post(
                "/graphql",
                headers={"GraphQL-Preflight": "1"} | bearer(key),
                data={"operations": json.dumps(operation), "map": json.dumps({"0": ["variables.input.file"]})},
                files={"0": ("shop.csv", csv.encode(), "text/csv")},
            )
        )

    def get(self, url: str, key: str | None = None) -> httpx.Response:
        response = self.http.get(url, headers=bearer(key) if key else {})
        self.outputs.pieces.append(("headers", str(response.headers)))
        if "text" in response.headers["content-type"] or "json" in response.headers["content-type"]:
            self.outputs.pieces.append((urlsplit(url).path, response.text))
        return response

    def open_socket(self, key: str, operation: dict[str, Any] | None = None) -> None:
        """Opens a WebSocket with this key, and reads up to the first message of the operation."""
        url = str(self.http.base_url).replace("http", "ws") + "/graphql"
        with connect(url, subprotocols=["graphql-transport-ws"], additional_headers=bearer(key)) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "connection_init", "payload": bearer(key)}))
            try:
                self.outputs.pieces.append(("socket", str(socket.recv(10))))
            except ConnectionClosed as closed:
                self.outputs.pieces.append(("socket", str(closed)))
                return
            if operation:
                socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": operation}))
                self.outputs.pieces.append(("socket", str(socket.recv(10))))

    def _store(self, response: httpx.Response) -> Any:
        self.outputs.pieces += [("response", response.text), ("headers", str(response.headers))]
        return response.json()


@dataclass
class Secrets:
    """All secrets of the test. Those that are empty are created by the service."""

    password: str = field(default_factory=lambda: secrets.token_hex(16))
    #: Part of an image URL, and of the webhook URL.
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    hook: str = field(default_factory=lambda: secrets.token_hex(16))
    webhook_secret: str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    secrets_key: str = field(default_factory=lambda: Fernet.generate_key().decode())
    #: Secrets of an endpoint, of which the second replaces the first, and of the tenant.
    endpoint_secrets: list[str] = field(default_factory=list)
    #: API keys: the CLI creates the first three, the API creates the fourth, and the last was never issued.
    admin: str = ""
    old: str = ""
    rotated: str = ""
    created: str = ""
    unknown: str = field(default_factory=generate_api_key)
    signed_url: str = ""


def given_settings(own: Secrets, database_url: str, url: str, image_port: int) -> dict[str, str]:
    return {
        "DATABASE_URL": make_url(database_url).set(password=own.password).render_as_string(hide_password=False),
        "PUBLIC_URL": url,
        "WEBHOOK_SECRET": own.webhook_secret,
        "SECRETS_KEY": own.secrets_key,
        "PRIVATE_IMAGES": "true",
        "FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "FETCH_ALLOW_PORTS": str(image_port),
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }


def create_keys(outputs: Outputs, own: Secrets) -> None:
    scopes = ("--scope=read", "--scope=write", "--scope=admin")
    own.admin = outputs.run("keys", "create", "--name", "admin", *scopes).strip()
    own.old = outputs.run("keys", "create", "--name", "old").strip()
    own.rotated = outputs.run("keys", "rotate", own.old.split("_")[1], "--overlap", "0s").strip()
    outputs.run("keys", "revoke", own.rotated, status=1)


def use_everything(caller: Caller, own: Secrets, base: str) -> None:
    """Uses every feature, with valid and invalid keys."""
    own.created = caller.query(own.admin, CREATE)["data"]["createApiKey"]["secret"]
    wrong = own.admin[:-1] + ("a" if own.admin[-1] != "a" else "b")
    for key in (None, own.unknown, wrong, own.old, f"{own.admin}x"):
        assert caller.query(key, "{ viewer { name } }")["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    csv = f"S. No.,Product Name,Input Image Urls\n1,Lamp,{base}/lamp.png?token={own.token}\n"
    webhook = f"{base}/hook?key={own.hook}"
    endpoint = caller.query(own.admin, ENDPOINT, url=webhook)["data"]["createWebhookEndpoint"]
    issued = [endpoint] + [
        caller.query(own.admin, ROTATE, id=id)["data"]["rotateWebhookSecret"]
        for id in (endpoint["endpoint"]["id"], None)
    ]
    own.endpoint_secrets = [each["secret"] for each in issued]
    accepted = caller.upload(own.created, csv, webhook)["data"]["uploadCsv"]["request"]["id"]
    for key in (own.created, own.unknown, wrong):
        caller.open_socket(key, {"query": WATCH, "variables": {"id": accepted}})
    request = _wait_until_final(caller, own.created, accepted)
    assert request["status"] == "COMPLETED"
    own.signed_url = request["outputCsvUrl"]
    (image_url,) = request["products"]["edges"][0]["node"]["outputImageUrls"]
    unsigned_image = urlsplit(image_url).path
    expected = [
        (own.signed_url, None, 200),
        (own.signed_url[:-1], None, 403),
        (urlsplit(own.signed_url).path, wrong, 401),
        (image_url, None, 200),
        (unsigned_image, own.created, 200),
        (unsigned_image, None, 401),
        (unsigned_image, own.unknown, 401),
    ]
    assert [caller.get(url, key).status_code for url, key, _ in expected] == [status for *_, status in expected]
    caller.query(own.admin, f'{{ requests(after: "{own.created}") {{ totalCount }} }}')
    assert len(caller.query(own.admin, ADMIN)["data"]["auditLog"]["edges"]) >= 5
    caller.get("/metrics")
    caller.get("/readyz")
    for arguments in (("doctor",), ("keys", "list"), ("keys", "rotate-signing"), ("tenants", "list")):
        caller.outputs.run(*arguments)


def fail_with_broken_store(caller: Caller, own: Secrets, data_dir: Path, base: str) -> None:
    shutil.rmtree(data_dir / "objects")
    (data_dir / "objects").touch()
    csv = f"S. No.,Product Name,Input Image Urls\n1,Lamp,{base}/lamp.png?token={own.token}\n"
    assert "errors" in caller.upload(own.created, csv, f"{base}/hook?key={own.hook}")
    assert caller.get(own.signed_url).status_code >= 400


def assert_no_leaks(outputs: Outputs, own: Secrets, signing_secrets: Sequence[str]) -> None:
    """Each key occurs once, in the response to its creation; no other secret occurs anywhere."""
    for place, keys in (("keys stdout", (own.admin, own.old, own.rotated)), ("response", (own.created,))):
        for key in keys:
            assert outputs.count(key) == {place: 1}, key
            assert outputs.leaks(key.split("_")[2]) == [place]
    for secret in own.endpoint_secrets:
        assert outputs.leaks(secret.removeprefix("whsec_")) == ["response"]
    digests = [sha256(key.encode()).hexdigest() for key in (own.admin, own.old, own.rotated, own.created)]
    unknown = own.unknown.split("_")[2]
    for secret in (own.password, own.webhook_secret, own.secrets_key, own.hook, unknown, *digests, *signing_secrets):
        assert outputs.leaks(secret) == [], secret
    logs = {name: text for name, text in outputs.pieces if name.endswith(".log")}
    assert {"api.log", "worker.log"} == set(logs)
    for name, text in logs.items():
        assert '"level": "debug"' in text
        assert parse_qs(urlsplit(own.signed_url).query)["signature"][0] not in text, name
        # Callers may read image URLs, but no log line contains their query.
        assert own.token not in text, name


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_secret_is_written_anywhere(
    database_url: str, redis_url: str, image_folder: Path, image_port: int, tmp_path: Path
) -> None:
    # Given a service with every kind of secret, and the most verbose log,
    own, port, base = Secrets(), free_port(), f"http://127.0.0.1:{image_port}"
    url = f"http://127.0.0.1:{port}"
    (image_folder / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    places = {"REDIS_URL": redis_url, "DATA_DIR": str(tmp_path / "data")}
    outputs = Outputs(tmp_path, given_settings(own, database_url, url, image_port) | places)
    outputs.run("migrate")
    create_keys(outputs, own)
    caller = Caller(url, outputs)
    outputs.start("api", "--port", str(port))
    outputs.start("worker", "--processes", "1")

    # when a caller uses every feature, and the store fails at last,
    try:
        wait_until_ready(url)
        use_everything(caller, own, base)
        fail_with_broken_store(caller, own, tmp_path / "data", base)
    finally:
        caller.http.close()
        outputs.stop()

    # then no secret is in any output, except for each key in the response to its creation.
    database = Database(database_url)
    signing_secrets = database.read_now(signed_urls.read_secrets)
    database.close()
    assert len(signing_secrets) == 2
    assert_no_leaks(outputs, own, signing_secrets)


def _wait_until_final(caller: Caller, key: str, request_id: str) -> Any:
    """The request, once it is final and its webhook was attempted."""
    deadline = time.monotonic() + 60
    while True:
        request = caller.query(key, REQUEST, id=request_id)["data"]["request"]
        if request["outputCsvUrl"] and request["webhook"]["attempts"]:
            return request
        assert time.monotonic() < deadline, request
        time.sleep(0.2)
