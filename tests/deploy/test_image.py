"""The Dockerfile and its lock files. `test_compose_run.py` builds the image."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.deploy.installation import ROOT, USER_ID, tool_environment


def test_dockerfile_passes_hadolint() -> None:
    done = subprocess.run(
        ["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=tool_environment()
    )

    assert (done.returncode, done.stdout) == (0, "")


def read_lock(lock: str) -> dict[str, frozenset[str]]:
    """Returns the hashes of each package and version in a lock file."""
    lines = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    return {re.split(r"[ ;]", line)[0]: frozenset(re.findall(r"--hash=(\S+)", line)) for line in lines if line}


@pytest.mark.parametrize("lock", ["deploy/image/runtime.lock", "deploy/image/build.lock"])
def test_image_has_the_tested_package_versions(lock: str) -> None:
    tested = read_lock("requirements.lock")

    installed = read_lock(lock)

    assert installed
    assert {package: hashes for package, hashes in installed.items() if tested.get(package) != hashes} == {}


def test_base_images_are_pinned_and_the_user_is_numeric() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")

    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert {base.partition(":")[0] for base in bases} == {"python", "node"}
    assert all(re.search(r":[0-9]+.*-slim", base) for base in bases)
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == [f"{USER_ID}:{USER_ID}"]
