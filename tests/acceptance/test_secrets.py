"""Secrets are shown to who asks for them, once; nothing else that the service writes has them."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import make_url
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from gql_imgproc.access import signed_urls
from gql_imgproc.database.engine import Database
from gql_imgproc.security.api_key import generate_api_key
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.preflight import check_port
from tests.acceptance.conftest import COMMAND, environment
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.support.api_keys import bearer

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

UPLOAD = """mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename
  ... on UploadCsvSuccess { request { id webhook { url } } } ... on UserError { message } } }"""
REQUEST = """query($id: ID!) { request(id: $id) { status outputCsvUrl webhook { url status attempts log { error } }
  products { edges { node { outputImageUrls } } } } }"""
ADMIN = """{ viewer { name tenant } apiKeys { edges { node { publicId name scopes } } }
  auditLog { edges { node { action actor address details { name value } } } } }"""
CREATE = 'mutation { createApiKey(input: {name: "made over GraphQL"}) { ... on CreateApiKeySuccess { secret } } }'
#: So many letters of a secret, one after another, are no accident.
STRETCH = 10
WATCH = "subscription($id: ID!) { requestProgress(id: $id) { status } }"


class Written:
    """All that the service wrote to anybody, in pieces with a name each."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.pieces: list[tuple[str, str]] = []
        self._folder = folder
        self._environment = environment(**settings)
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, *arguments: str, status: int = 0) -> str:
        """A command's standard output."""
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

    def where(self, secret: str) -> Counter[str]:
        """How often it stands in which pieces."""
        return Counter({name: text.count(secret) for name, text in self.pieces if secret in text})

    def leaks(self, secret: str) -> list[str]:
        """The pieces that have any stretch of it: libraries cut long values short."""
        stretches = [secret[start : start + STRETCH] for start in range(len(secret) - STRETCH + 1)]
        return [name for name, text in self.pieces if any(stretch in text for stretch in stretches)]


class Caller:
    """Somebody who calls the service and keeps every answer."""

    def __init__(self, url: str, written: Written) -> None:
        self.http = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self.written = written

    def ask(self, key: str | None, query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        return self._kept(self.http.post("/graphql", json=body, headers=bearer(key) if key else {}))

    def upload(self, key: str, csv: str, webhook: str) -> Any:
        operation = {"query": UPLOAD, "variables": {"input": {"file": None, "webhookUrl": webhook}}}
        return self._kept(
            self.http.post(
                "/graphql",
                headers={"GraphQL-Preflight": "1"} | bearer(key),
                data={"operations": json.dumps(operation), "map": json.dumps({"0": ["variables.input.file"]})},
                files={"0": ("shop.csv", csv.encode(), "text/csv")},
            )
        )

    def get(self, address: str, key: str | None = None) -> httpx.Response:
        answer = self.http.get(address, headers=bearer(key) if key else {})
        self.written.pieces.append(("headers", str(answer.headers)))
        if "text" in answer.headers["content-type"] or "json" in answer.headers["content-type"]:
            self.written.pieces.append((urlsplit(address).path, answer.text))
        return answer

    def greet(self, key: str, then: dict[str, Any] | None = None) -> None:
        """A socket with this key, to the first thing that is told over it."""
        url = str(self.http.base_url).replace("http", "ws") + "/graphql"
        with connect(url, subprotocols=["graphql-transport-ws"], additional_headers=bearer(key)) as socket:  # type: ignore[list-item]
            socket.send(json.dumps({"type": "connection_init", "payload": bearer(key)}))
            try:
                self.written.pieces.append(("socket", str(socket.recv(10))))
            except ConnectionClosed as closed:
                self.written.pieces.append(("socket", str(closed)))
                return
            if then:
                socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": then}))
                self.written.pieces.append(("socket", str(socket.recv(10))))

    def _kept(self, answer: httpx.Response) -> Any:
        self.written.pieces += [("answer", answer.text), ("headers", str(answer.headers))]
        return answer.json()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_secret_is_written_anywhere(
    database_url: str, redis_url: str, pictures: Path, pictures_port: int, tmp_path: Path
) -> None:
    # Given a service with all the secrets that there are, which writes down all that it can,
    password, token, hook = (secrets.token_hex(16) for _ in range(3))
    webhook_secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    port = check_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    settings = {
        "DATABASE_URL": make_url(database_url).set(password=password).render_as_string(hide_password=False),
        "REDIS_URL": redis_url,
        "DATA_DIR": str(tmp_path / "data"),
        "PUBLIC_URL": url,
        "WEBHOOK_SECRET": webhook_secret,
        "PRIVATE_IMAGES": "true",
        "FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "FETCH_ALLOW_PORTS": str(pictures_port),
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    (pictures / "lamp.png").write_bytes(sample_images.render_sample("lamp-plan.png"))
    base = f"http://127.0.0.1:{pictures_port}"
    csv = f"S. No.,Product Name,Input Image Urls\n1,Lamp,{base}/lamp.png?token={token}\n"
    webhook = f"{base}/hook?key={hook}"
    written = Written(tmp_path, settings)
    written.run("migrate")
    admin = written.run("keys", "create", "--name", "boss", *("--scope=read", "--scope=write", "--scope=admin")).strip()
    old = written.run("keys", "create", "--name", "till").strip()
    rotated = written.run("keys", "rotate", old.split("_")[1], "--overlap", "0s").strip()
    written.run("keys", "revoke", rotated, status=1)
    caller = Caller(url, written)
    written.start("api", "--port", str(port))
    written.start("worker", "--processes", "1")
    try:
        wait_until_ready(url)

        # when everything is done that a caller can do, rightly and wrongly,
        made = caller.ask(admin, CREATE)["data"]["createApiKey"]["secret"]
        stranger, wrong = generate_api_key(), admin[:-1] + ("a" if admin[-1] != "a" else "b")
        for key in (None, stranger, wrong, old, f"{admin}x"):
            assert caller.ask(key, "{ viewer { name } }")["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        accepted = caller.upload(made, csv, webhook)["data"]["uploadCsv"]["request"]["id"]
        for key in (made, stranger, wrong):
            caller.greet(key, {"query": WATCH, "variables": {"id": accepted}})
        request = _ended(caller, made, accepted)
        assert request["status"] == "COMPLETED"
        signed = request["outputCsvUrl"]
        (picture,) = request["products"]["edges"][0]["node"]["outputImageUrls"]
        told = [(signed, None, 200), (signed[:-1], None, 403), (urlsplit(signed).path, wrong, 401)]
        bare = urlsplit(picture).path
        told += [(picture, None, 200), (bare, made, 200), (bare, None, 401), (bare, stranger, 401)]
        assert [caller.get(address, key).status_code for address, key, _ in told] == [status for *_, status in told]
        caller.ask(admin, f'{{ requests(after: "{made}") {{ totalCount }} }}')
        assert len(caller.ask(admin, ADMIN)["data"]["auditLog"]["edges"]) >= 5
        caller.get("/metrics")
        caller.get("/readyz")
        for arguments in (("doctor",), ("keys", "list"), ("keys", "rotate-signing"), ("tenants", "list")):
            written.run(*arguments)
        # the store failing at last,
        shutil.rmtree(tmp_path / "data" / "objects")
        (tmp_path / "data" / "objects").touch()
        assert "errors" in caller.upload(made, csv, webhook)
        assert caller.get(signed).status_code >= 400
    finally:
        caller.http.close()
        written.stop()

    # then each key was told to who made it, and none of the secrets to anybody else.
    database = Database(database_url)
    signing_secrets = database.read_now(signed_urls.read_secrets)
    database.close()
    assert len(signing_secrets) == 2
    logs = {name: text for name, text in written.pieces if name.endswith(".log")}
    assert {"api.log", "worker.log"} == set(logs)
    assert all('"level": "debug"' in text for text in logs.values())
    for place, keys in (("keys stdout", (admin, old, rotated)), ("answer", (made,))):
        for key in keys:
            assert written.where(key) == {place: 1}, key
            assert written.leaks(key.split("_")[2]) == [place]
    digests = [sha256(key.encode()).hexdigest() for key in (admin, old, rotated, made)]

    for secret in (password, webhook_secret, hook, stranger.split("_")[2], *digests, *signing_secrets):
        assert written.leaks(secret) == [], secret
    for name, text in logs.items():
        assert parse_qs(urlsplit(signed).query)["signature"][0] not in text, name
        # Of an address that the CSV has, and that callers get to see again.
        assert token not in text, name


def _ended(caller: Caller, key: str, request_id: str) -> Any:
    """The request when it is final and its webhook was tried."""
    deadline = time.monotonic() + 60
    while True:
        request = caller.ask(key, REQUEST, id=request_id)["data"]["request"]
        if request["outputCsvUrl"] and request["webhook"]["attempts"]:
            return request
        assert time.monotonic() < deadline, request
        time.sleep(0.2)
