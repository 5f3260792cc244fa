"""compose.yaml, compared with the code. `test_compose_run.py` runs it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.installation import ROOT, assert_memory_fits, settings_of, tool_environment

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
VALUES = {name: value or f"{name.lower().replace('_', '')}1" for name, value in EXAMPLE.items()}
VALUES |= {
    "WEBHOOK_SECRET": "",
    "SECRETS_KEY": "",
    "FETCH_ALLOW_NETWORKS": "10.1.0.0/16",
    "FETCH_ALLOW_PORTS": "80,443,8080",
}
OWN_SERVICES = ("migrate", "api", "worker")
VARIABLE = re.compile(r"\$\$|\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}")


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Interpolates variables as Compose does; raises KeyError where Compose reports an error."""

    def value(match: re.Match[str]) -> str:
        name, operator, default = match.groups()
        if name is None:
            return "$"
        if variables.get(name):
            return variables[name]
        if operator == ":-":
            return str(default)
        raise KeyError(name)

    return VARIABLE.sub(value, text)


def interpolate_all(value: Any, variables: Mapping[str, str]) -> Any:
    """Interpolates all strings of a parsed document."""
    if isinstance(value, dict):
        return {name: interpolate_all(each, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [interpolate_all(each, variables) for each in value]
    return interpolate(value, variables) if isinstance(value, str) else value


@cache
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = interpolate_all(yaml.safe_load(TEXT), VALUES)["services"]
    return found


def test_compose_file_is_valid() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=tool_environment())

    assert done.returncode == 0, done.stdout


def test_env_example_lists_exactly_the_variables() -> None:
    # The image version is optional, for users of a registry.
    assert {name for name, _, _ in VARIABLE.findall(TEXT) if name} - {"GQL_IMGPROC_VERSION"} == set(EXAMPLE)
    # A `gql-imgproc` outside the containers reads the same file, and must not connect to services inside them.
    assert not [name for name in EXAMPLE if name.startswith("IMGPROC_")]


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "STORE_SECRET_KEY", "GRAFANA_PASSWORD"])
def test_passwords_have_no_default(name: str) -> None:
    assert EXAMPLE[name] == ""
    with pytest.raises(KeyError, match=name):
        interpolate_all(yaml.safe_load(TEXT), VALUES | {name: ""})


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]

    assert len(published) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", port) for port in published)


def test_every_image_has_a_version() -> None:
    versions = {service["image"].partition(":")[2] for name, service in services().items() if name not in OWN_SERVICES}

    assert all(re.match(r"v?[0-9]+", version) for version in versions)
    assert {services()[name]["image"] for name in OWN_SERVICES} == {"gql-imgproc:local"}


def test_memory_limits_fit_the_settings() -> None:
    worker = services()["worker"]
    settings = settings_of(worker["environment"])

    assert_memory_fits(settings, int(worker["mem_limit"].removesuffix("g")) * 1024**3)
    # Without a CPU limit the worker cannot detect its share of the cores.
    assert settings.cpu_slots == 1
