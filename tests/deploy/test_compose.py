"""compose.yaml: it cannot be run here, but all it says about us can be compared with the code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import ROOT, stages
from tests.deploy.installation import assert_memory_fits, assert_served, assert_understood, settings_of
from tests.deploy.test_image import ours

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
FILLED = {name: value or f"{name.lower().replace('_', '')}1" for name, value in EXAMPLE.items()}
FILLED["WEBHOOK_SECRET"] = ""
OURS = ("migrate", "api", "worker")
VARIABLE = re.compile(r"\$\$|\$\{([A-Z_]+)(?:(:-|:\?)([^}]*))?\}")


def filled(text: str, given: Mapping[str, str]) -> str:
    """The text with the variables in it, as Compose fills them in; KeyError where it would refuse."""

    def value(match: re.Match[str]) -> str:
        name, how, more = match.groups()
        if name is None:
            return "$"
        if given.get(name):
            return given[name]
        if how == ":-":
            return str(more)
        raise KeyError(name)

    return VARIABLE.sub(value, text)


def all_filled(value: Any, given: Mapping[str, str]) -> Any:
    """The same of what was read: what is filled in stays text."""
    if isinstance(value, dict):
        return {name: all_filled(each, given) for name, each in value.items()}
    if isinstance(value, list):
        return [all_filled(each, given) for each in value]
    return filled(value, given) if isinstance(value, str) else value


@cache
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = all_filled(yaml.safe_load(TEXT), FILLED)["services"]
    return found


def test_it_follows_the_specification() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=ours())

    assert done.returncode == 0, done.stdout


def test_the_example_has_every_variable_and_no_other() -> None:
    # The version of the image is for those who have a registry.
    assert {name for name, _, _ in VARIABLE.findall(TEXT) if name} - {"GQL_IMGPROC_VERSION"} == set(EXAMPLE)
    # A `gql-imgproc` that is run beside it reads the same file, and is not to be led to what is in the containers.
    assert not [name for name in EXAMPLE if name.startswith("IMGPROC_")]


@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REDIS_PASSWORD", "STORE_SECRET_KEY", "GRAFANA_PASSWORD"])
def test_nothing_starts_with_a_password_that_everybody_knows(name: str) -> None:
    assert EXAMPLE[name] == ""
    with pytest.raises(KeyError, match=name):
        all_filled(yaml.safe_load(TEXT), FILLED | {name: ""})


def test_whatever_is_published_is_published_to_this_host_alone() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]

    assert len(published) == 3
    assert all(re.fullmatch(r"127\.0\.0\.1:[0-9]+:[0-9]+", port) for port in published)


def test_every_image_has_a_version() -> None:
    versions = {service["image"].partition(":")[2] for name, service in services().items() if name not in OURS}

    assert all(re.match(r"v?[0-9]+", version) for version in versions)
    assert {services()[name]["image"] for name in OURS} == {"gql-imgproc:local"}


@pytest.mark.parametrize("name", OURS)
def test_what_is_started_and_set_is_understood(name: str) -> None:
    service = services()[name]

    assert_understood(service["command"])
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
        # It has no limit on its CPU, so it cannot find out by itself.
        assert settings.cpu_slots == 1


def test_everything_waits_for_what_it_needs() -> None:
    checked_by_the_image = {"api", "worker"}
    for name, service in services().items():
        for needed, how in service.get("depends_on", {}).items():
            other = services()[needed]
            match how["condition"]:
                case "service_healthy":
                    assert "healthcheck" in other or needed in checked_by_the_image, (name, needed)
                case "service_completed_successfully":
                    assert other["restart"] == "no"
    assert {"migrate", "bucket", "redis", "store"} == set(services()["worker"]["depends_on"])
    assert services()["api"]["depends_on"] == services()["worker"]["depends_on"]


def test_what_is_mounted_is_there() -> None:
    volumes = yaml.safe_load(TEXT)["volumes"]
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() if source.startswith(".") else source in volumes, volume
    # What Prometheus itself reads in its folder.
    assert (ROOT / "deploy/prometheus/prometheus.yml").is_file()


def test_prometheus_scrapes_what_is_started() -> None:
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


def test_the_bucket_that_is_made_is_the_one_that_is_used() -> None:
    bucket, store = services()["bucket"], services()["store"]
    url = services()["api"]["environment"]["IMGPROC_STORAGE_URL"]

    assert f"{store['command'][-1]}/{url.removeprefix('s3://')}" == bucket["entrypoint"][-1]
    assert store["user"] == ":".join(bucket["entrypoint"][3:6:2])
    for ours_, theirs in (("AWS_ACCESS_KEY_ID", "ROOT_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "ROOT_SECRET_KEY")):
        assert services()["worker"]["environment"][ours_] == store["environment"][theirs]
