"""Real S3 servers for the tests: moto's, and s3rver, which refuses keys that it does not know.

moto takes any key, until `checking` tells it to look at the signature and at what the key may do. (s3rver looks at keys
only: it does not compute signatures of version 4.)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.npm import installed

S3RVER = Path(__file__).parent / "s3rver"
#: The only key that s3rver knows, and its secret.
KEY = SECRET = "S3RVER"
BUCKET = "pictures"
#: How long a server may take to start, in seconds; moto imports for a second or two.
START_S = 30
_LISTENS = re.compile(r"(?:Running on http://|listening on )([0-9.]+:[0-9]+)")


@dataclass(frozen=True, slots=True)
class S3:
    """Where a server is, a bucket that it has, and a key to it."""

    endpoint: str
    key: str = KEY
    secret: str = SECRET
    bucket: str = BUCKET

    @property
    def url(self) -> str:
        """For IMGPROC_STORAGE_URL."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process of ours reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }

    def use(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Makes this process reach it, whatever else its environment says of clouds; empty: without this variable."""
        for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
            monkeypatch.delenv(name)
        for name, value in (self.environment | more).items():
            if value:
                monkeypatch.setenv(name, value)

    def new_bucket(self) -> S3:
        """An empty bucket on the same server, which must be moto's."""
        bucket = f"pictures-{uuid4().hex}"
        httpx.put(f"{self.endpoint}/{bucket}").raise_for_status()
        return replace(self, bucket=bucket)

    def at(self, endpoint: str) -> S3:
        """The same, reached through something else."""
        return replace(self, endpoint=endpoint)


@contextmanager
def moto(folder: Path, *, host: str = "127.0.0.1", port: int = 0, inside: Sequence[str] = ()) -> Iterator[S3]:
    """moto's server, which speaks most of S3 and takes any key; what it holds is in its memory.

    `inside` is put before its command, such as `ip netns exec NAME`.
    """
    command = [*inside, sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with _running(command, folder / "moto.log") as endpoint:
        if not inside:
            httpx.put(f"{endpoint}/{BUCKET}").raise_for_status()
        yield S3(endpoint)


@contextmanager
def s3rver(folder: Path, *, host: str = "127.0.0.1", port: int = 0, inside: Sequence[str] = ()) -> Iterator[S3]:
    """s3rver, which refuses keys but its own; what it holds is in files below `folder`, and outlives it."""
    script = installed(S3RVER) / "s3rver" / "bin" / "s3rver.js"
    options = ("-d", str(folder / "s3rver"), "-a", host, "-p", str(port), "--configure-bucket", BUCKET)
    with _running([*inside, "node", str(script), *options], folder / "s3rver.log") as endpoint:
        yield S3(endpoint)


@contextmanager
def checking(server: S3, *actions: str) -> Iterator[S3]:
    """A key of moto's that may do only these `actions`, such as `s3:GetObject`; meanwhile moto checks every call."""
    import boto3

    iam = boto3.client(
        "iam",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    user = f"user-{uuid4().hex}"
    rule = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    iam.create_user(UserName=user)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName=user, PolicyName="rule", PolicyDocument=policy)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    iam.close()
    httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
    try:
        yield replace(server, key=made["AccessKeyId"], secret=made["SecretAccessKey"])
    finally:
        httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=b"inf").raise_for_status()


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[str]:
    """The address at which a server of ours listens, as it says itself."""
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while not (said := _LISTENS.search(log.read_text(errors="replace"))):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://{said[1]}"
    finally:
        server.terminate()
        server.wait(10)
