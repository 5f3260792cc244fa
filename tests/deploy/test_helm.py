"""The chart deploy/helm, rendered by helm and compared with the code. `test_helm_run.py` runs its pods."""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gql_imgproc.net.address_policy import NetworkPolicy, check_ip
from gql_imgproc.web.server import STOP_S
from tests.deploy.installation import (
    ROOT,
    USER_ID,
    assert_memory_fits,
    assert_served,
    assert_valid_command,
    render_chart,
    settings_of,
    tool_environment,
)

#: Units of Kubernetes quantities, in bytes.
UNITS = {"Mi": 1024**2, "Gi": 1024**3}

Resources = dict[tuple[str, str], dict[str, Any]]


@cache
def resources(*options: str) -> Resources:
    """Returns the resources of the example installation by kind and name."""
    rendered = render_chart("--values", "deploy/helm/example-values.yaml", *options)
    documents = [document for document in yaml.safe_load_all(rendered) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yields component, pod and its only container for every workload."""
    for (kind, _), resource in resources().items():
        if kind in ("Deployment", "Job"):
            pod = resource["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield container["name"], pod, container


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """Returns the environment of a container in the example."""
    environment = dict(resources()["ConfigMap", "gql-imgproc"]["data"])
    environment |= resources()["Secret", "gql-imgproc"]["stringData"]
    return environment | {each["name"]: each["value"] for each in container.get("env", [])}


def size_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def test_rendered_manifests_are_valid(tmp_path: Path) -> None:
    manifest = tmp_path / "rendered.yaml"
    manifest.write_text(yaml.safe_dump_all(resources().values()))

    done = subprocess.run(
        ["kubernetes-validate", "--strict", "--quiet", "--no-warn", str(manifest)],
        capture_output=True,
        text=True,
        timeout=60,
        env=tool_environment(),
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert {kind for kind, _ in resources()} == {
        *("ConfigMap", "Deployment", "Ingress", "Job", "NetworkPolicy", "PodDisruptionBudget"),
        *("ScaledObject", "Secret", "Service", "ServiceAccount"),
    }
    assert {container["image"] for _, _, container in pods()} == {"registry.example/gql-imgproc:0.1.0"}


def test_optional_parts_are_not_rendered() -> None:
    off = [f"--set={name}.enabled=false" for name in ("autoscaling", "ingress", "networkPolicy")]

    kinds = {kind for kind, _ in resources(*off, "--set=secret.values=null")}

    assert kinds == {"ConfigMap", "Deployment", "Job", "PodDisruptionBudget", "Service", "ServiceAccount"}
    assert resources(*off)["Deployment", "gql-imgproc-worker"]["spec"]["replicas"] == 2


@pytest.mark.parametrize("name", ["settings.IMGPROC_PUBLIC_URL", "settings.IMGPROC_STORAGE_URL", "ingress.host"])
def test_missing_value_is_named(name: str) -> None:
    with pytest.raises(AssertionError, match=rf"{name} is required"):
        resources(f"--set={name}=")


@pytest.mark.parametrize("component", ["migrate", "api", "worker"])
def test_commands_settings_and_probes_are_valid(component: str) -> None:
    (container,) = [container for name, _, container in pods() if name == component]

    assert_valid_command(container["args"])
    settings = settings_of(environment_of(container))

    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    probes = [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container]
    assert bool(probes) == (component != "migrate")
    for probe in probes:
        url = f"http://pod:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        assert_served(url, container["args"], settings)
    if component == "worker":
        assert_memory_fits(settings, size_bytes(container["resources"]["limits"]["memory"]))
        assert "cpu" in container["resources"]["limits"] or settings.cpu_slots == 1


@pytest.mark.parametrize("component", ["migrate", "api", "worker"])
def test_pods_meet_the_restricted_security_standard(component: str) -> None:
    ((_, pod, container),) = [each for each in pods() if each[0] == component]

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER_ID,
        "runAsGroup": USER_ID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert ("ServiceAccount", pod["serviceAccountName"]) in resources()
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}


def test_api_pod_has_enough_time_to_stop() -> None:
    ((_, pod, container),) = [each for each in pods() if each[0] == "api"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    probe = container["readinessProbe"]

    assert pod["terminationGracePeriodSeconds"] > pause + STOP_S + 5
    # After that, proxies send no new requests.
    assert pause > probe["periodSeconds"]


def test_selectors_match_labels() -> None:
    base = resources()
    labels = {
        name: resource["spec"]["template"]["metadata"]["labels"]
        for (kind, name), resource in base.items()
        if kind in ("Deployment", "Job")
    }

    def matches(selector: dict[str, str]) -> set[str]:
        return {name for name, pod_labels in labels.items() if selector.items() <= pod_labels.items()}

    for (kind, name), resource in base.items():
        spec = resource.get("spec", {})
        match kind:
            case "Deployment" | "PodDisruptionBudget":
                assert matches(spec["selector"]["matchLabels"]) == {name}
            case "Service":
                assert matches(spec["selector"]) == {name}
                (container,) = [each for component, _, each in pods() if name.endswith(component)]
                assert spec["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}
            case "NetworkPolicy":
                assert matches(spec["podSelector"]["matchLabels"])
            case "ScaledObject":
                assert ("Deployment", spec["scaleTargetRef"]["name"]) in base
                # The autoscaler sets the replicas.
                assert "replicas" not in base["Deployment", spec["scaleTargetRef"]["name"]]["spec"]
            case "Ingress":
                for path in spec["rules"][0]["http"]["paths"]:
                    assert ("Service", path["backend"]["service"]["name"]) in base


def test_autoscaler_metric_exists() -> None:
    metrics_source = (ROOT / "gql_imgproc/metrics.py").read_text(encoding="utf-8")
    (trigger,) = resources()["ScaledObject", "gql-imgproc-worker"]["spec"]["triggers"]
    (metric,) = re.findall(r"imgproc_\w+", trigger["metadata"]["query"])
    assert f'"{metric}"' in metrics_source
    # All other fields have KEDA's defaults. There is no schema to validate them.
    assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}


def test_internet_policy_excludes_private_networks() -> None:
    """The network policy and the service's own check allow the same IP addresses."""
    policy = resources()["NetworkPolicy", "gql-imgproc-internet"]
    (rule,) = policy["spec"]["egress"]
    blocks = [
        (
            ipaddress.ip_network(entry["ipBlock"]["cidr"]),
            [ipaddress.ip_network(cidr) for cidr in entry["ipBlock"]["except"]],
        )
        for entry in rule["to"]
    ]

    def allows(ip: str) -> bool:
        parsed = ipaddress.ip_address(ip)
        return any(
            parsed.version == block.version and parsed in block and not any(parsed in cidr for cidr in excluded)
            for block, excluded in blocks
        )

    assert {port["port"] for port in rule["ports"]} == set(settings_of({}).fetch_allow_ports)
    private = (
        "10.96.0.1",
        "172.20.0.10",
        "192.168.1.1",
        "169.254.169.254",
        "127.0.0.1",
        "100.100.100.200",
        "224.0.0.1",
    )
    private_v6 = ("::1", "fd00::1", "fe80::1", "fd00:ec2::254", "2002:a00:1::", "::ffff:10.0.0.1", "64:ff9b::a00:1")
    for ip in private + private_v6:
        assert not allows(ip), ip
        assert check_ip(ip, NetworkPolicy()) is not None, ip
    for ip in ("93.184.215.14", "1.1.1.1", "2606:4700::1111"):
        assert allows(ip), ip
        assert check_ip(ip, NetworkPolicy()) is None, ip
