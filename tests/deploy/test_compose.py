"""compose.yaml, compared with the code. The tests do not run it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import ROOT, stages
from tests.deploy.installation import assert_memory_fits, assert_served, assert_valid_command, settings_of
from tests.deploy.test_image import tool_environment

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
VALUES = {name: value or f"{name.lower().replace('_', '')}1" for name, value in EXAMPLE.items()}
VALUES["WEBHOOK_SECRET"] = ""
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


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_commands_and_settings_are_valid(name: str) -> None:
    service = services()[name]

    assert_valid_command(service["command"])
    settings = settings_of(service["environment"])

    assert settings.database.startswith("postgresql+psycopg://imgproc:postgrespassword1@database/")
    assert settings.redis_url == "redis://:redispassword1@redis:6379/0"
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    if name != "migrate":
        _, *pairs = [entry.split("=", 1) for entry in stages()[-1].last("ENV").value.split()]
        health = service["environment"].get("HEALTH_URL") or dict(pairs)["HEALTH_URL"]
        assert_served(health, service["command"], settings)
    if name == "worker":
        assert_memory_fits(settings, int(service["mem_limit"].removesuffix("g")) * 1024**3)
        # Without a CPU limit the worker cannot detect its share of the cores.
        assert settings.cpu_slots == 1


def test_services_wait_for_their_dependencies() -> None:
    image_has_health_check = {"api", "worker"}
    for name, service in services().items():
        for dependency, options in service.get("depends_on", {}).items():
            other = services()[dependency]
            match options["condition"]:
                case "service_healthy":
                    assert "healthcheck" in other or dependency in image_has_health_check, (name, dependency)
                case "service_completed_successfully":
                    assert other["restart"] == "no"
    assert {"migrate", "bucket", "redis", "store"} == set(services()["worker"]["depends_on"])
    assert services()["api"]["depends_on"] == services()["worker"]["depends_on"]


def test_mounted_files_exist() -> None:
    volumes = yaml.safe_load(TEXT)["volumes"]
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith(".") else source in volumes, volume
    # Prometheus reads this file in its mounted folder.
    assert (ROOT / "deploy/prometheus/prometheus.yml").is_file()


def test_prometheus_scrapes_api_and_workers() -> None:
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    scraped = {
        (name, config["port"], job.get("metrics_path", "/metrics"))
        for job in jobs
        for config in job["dns_sd_configs"]
        for name in config["names"]
    }

    assert {name for name, _, _ in scraped} == {"api", "worker"}
    for name, port, path in scraped:
        service = services()[name]
        assert_served(f"http://{name}:{port}{path}", service["command"], settings_of(service["environment"]))


def test_created_bucket_is_the_configured_one() -> None:
    bucket, store = services()["bucket"], services()["store"]
    url = services()["api"]["environment"]["IMGPROC_STORAGE_URL"]

    assert f"{store['command'][-1]}/{url.removeprefix('s3://')}" == bucket["entrypoint"][-1]
    assert store["user"] == ":".join(bucket["entrypoint"][3:6:2])
    for client_name, store_name in (
        ("AWS_ACCESS_KEY_ID", "ROOT_ACCESS_KEY"),
        ("AWS_SECRET_ACCESS_KEY", "ROOT_SECRET_KEY"),
    ):
        assert services()["worker"]["environment"][client_name] == store["environment"][store_name]
