"""Real S3 servers for tests: moto and s3rver.

moto accepts any credentials until `restricted_key` lets it check signatures and permissions. s3rver refuses unknown
access keys, but does not verify signatures of version 4.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.npm import install_packages

S3RVER = Path(__file__).parent / "s3rver"
#: The only credentials that s3rver accepts.
KEY = SECRET = "S3RVER"
BUCKET = "images"
#: Timeout for the start of a server.
START_TIMEOUT_S = 30
_LISTENING = re.compile(r"(?:Running on http://|listening on |listens on http://|started at http://)([0-9.]+:[0-9]+)")


@dataclass(frozen=True, slots=True)
class S3:
    """A bucket of a server, and credentials for it."""

    endpoint: str
    key: str = KEY
    secret: str = SECRET
    bucket: str = BUCKET

    @property
    def url(self) -> str:
        """The value of IMGPROC_STORAGE_URL."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process of the service reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def configure(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Replace all variables of clouds in the environment. An empty value unsets a variable."""
        set_cloud_environment(monkeypatch, self.environment | more)

    def create_bucket(self) -> S3:
        """Create an empty bucket on the same server, which must be moto."""
        bucket = f"images-{uuid4().hex}"
        httpx.put(f"{self.endpoint}/{bucket}").raise_for_status()
        return replace(self, bucket=bucket)

    def through(self, endpoint: str) -> S3:
        """The same bucket behind a proxy."""
        return replace(self, endpoint=endpoint)


def set_cloud_environment(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        if value:
            monkeypatch.setenv(name, value)


@contextmanager
def moto(folder: Path, *, host: str = "127.0.0.1", port: int = 0, command_prefix: Sequence[str] = ()) -> Iterator[S3]:
    """Start moto, which keeps objects in memory. `command_prefix` is, for instance, `ip netns exec NAME`."""
    command = [*command_prefix, sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with running(command, folder / "moto.log") as endpoint:
        if not command_prefix:
            httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
        yield S3(endpoint)


@contextmanager
def s3rver(folder: Path, *, host: str = "127.0.0.1", port: int = 0, command_prefix: Sequence[str] = ()) -> Iterator[S3]:
    """Start s3rver, which keeps objects in files below `folder`."""
    script = install_packages(S3RVER) / "s3rver" / "bin" / "s3rver.js"
    options = ("-d", str(folder / "s3rver"), "-a", host, "-p", str(port), "--configure-bucket", BUCKET)
    with running([*command_prefix, "node", str(script), *options], folder / "s3rver.log") as endpoint:
        yield S3(endpoint)


@contextmanager
def restricted_key(server: S3, *actions: str) -> Iterator[S3]:
    """Create credentials in moto that permit only these actions. Meanwhile moto checks every call."""
    import boto3

    iam = boto3.client(
        "iam",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    user = f"user-{uuid4().hex}"
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    iam.create_user(UserName=user)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=user, PolicyName="rule", PolicyDocument=policy)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    iam.close()
    httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        yield replace(server, key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    finally:
        httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"inf").raise_for_status()


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[str]:
    """Start a server, and return the URL that it prints."""
    with log.open("wb") as file:
        server = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (listening := _LISTENING.search(log.read_text(errors="replace"))):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://{listening[1]}"
    finally:
        server.terminate()
        server.wait(10)
