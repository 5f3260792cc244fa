"""deploy/kubernetes, compared with the code. The tests do not run it."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gql_imgproc.net.address_policy import NetworkPolicy, check_ip
from gql_imgproc.web.server import STOP_S
from tests.deploy.dockerfile import ROOT, stages
from tests.deploy.installation import assert_memory_fits, assert_served, assert_valid_command, settings_of
from tests.deploy.test_image import tool_environment

FOLDER = ROOT / "deploy/kubernetes"
EXAMPLE = FOLDER / "overlays/example"
#: Units of Kubernetes quantities, in bytes.
UNITS = {"Mi": 1024**2, "Gi": 1024**3}
#: The first `kubectl` whose kustomize supports the current form of `labels` and `patches`.
MIN_KUBECTL = (1, 27)


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


@cache
def resources(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the resources of a kustomization by kind and name."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    return {
        (document["kind"], document["metadata"]["name"]): document
        for name in kustomization["resources"]
        if (folder / name).is_file()
        for document in documents(folder / name)
    }


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yields component, pod and its only container for every workload."""
    for (kind, name), resource in resources(FOLDER / "base").items():
        if kind in ("Deployment", "Job"):
            pod = resource["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield name.removeprefix("gql-imgproc-"), pod, container


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """Returns the environment of a container in the example."""
    (example,) = documents(EXAMPLE / "kustomization.yaml")
    secrets = (EXAMPLE / "secrets.env").read_text(encoding="utf-8")
    environment = dict(resources(FOLDER / "base")["ConfigMap", "gql-imgproc"]["data"])
    environment |= dict(literal.split("=", 1) for literal in example["configMapGenerator"][0]["literals"])
    environment |= dict(re.findall(r"^(\w+)=(.*)$", secrets, re.MULTILINE))
    return environment | {each["name"]: each["value"] for each in container.get("env", [])}


def size_bytes(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def validate(path: Path) -> None:
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "--quiet", "--no-warn", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=tool_environment(),
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_manifest_is_valid(path: Path) -> None:
    validate(path)


def test_kustomizations_use_every_file() -> None:
    for folder in (FOLDER / "base", EXAMPLE):
        (kustomization,) = documents(folder / "kustomization.yaml")
        names = {"kustomization.yaml", *kustomization["resources"]}
        names |= {patch["path"] for patch in kustomization.get("patches", [])}
        names |= {name for each in kustomization.get("secretGenerator", []) for name in each["envs"]}
        assert {name for name in names if "/" not in name} == {path.name for path in folder.iterdir()}
        assert all((folder / name).exists() for name in names)
    (patch,) = documents(EXAMPLE / "autoscaling.yaml")
    assert (patch["kind"], patch["metadata"]["name"]) in resources(FOLDER / "base")
    images = {container["image"] for _, _, container in pods()}
    (example,) = documents(EXAMPLE / "kustomization.yaml")
    assert images == {image["name"] for image in example["images"]} == {"gql-imgproc"}
    assert all(re.match(r"[0-9]", image["newTag"]) for image in example["images"])


def test_example_is_rendered(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    version = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True) if kubectl else None
    found = re.search(r"v(\d+)\.(\d+)", version.stdout) if version else None
    if not (kubectl and found and (int(found[1]), int(found[2])) >= MIN_KUBECTL):
        pytest.skip("needs kubectl 1.27 or newer; other tests check the references")

    rendered = subprocess.run([kubectl, "kustomize", str(EXAMPLE)], capture_output=True, text=True, timeout=60)

    assert rendered.returncode == 0, rendered.stderr
    manifest = tmp_path / "rendered.yaml"
    manifest.write_text(rendered.stdout)
    validate(manifest)
    kinds = [document["kind"] for document in documents(manifest)]
    assert sorted(set(kinds)) == [
        *("ConfigMap", "Deployment", "Ingress", "Job", "Namespace", "NetworkPolicy", "PodDisruptionBudget"),
        *("ScaledObject", "Secret", "Service", "ServiceAccount"),
    ]
    assert {document["metadata"].get("namespace", "imgproc") for document in documents(manifest)} == {"imgproc"}
    assert "image: registry.example/gql-imgproc:" in rendered.stdout
    assert "image: gql-imgproc\n" not in rendered.stdout


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
    user, group = map(int, stages()[-1].last("USER").value.split(":"))

    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert ("ServiceAccount", pod["serviceAccountName"]) in resources(FOLDER / "base")
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}


def test_api_pod_has_enough_time_to_stop() -> None:
    ((_, pod, container),) = [each for each in pods() if each[0] == "api"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    probe = container["readinessProbe"]

    assert pod["terminationGracePeriodSeconds"] > pause + STOP_S + 5
    # After that, proxies send no new requests.
    assert pause > probe["periodSeconds"]


def test_selectors_match_labels() -> None:
    base = resources(FOLDER / "base")
    labels = {
        name: resource["spec"]["template"]["metadata"]["labels"]
        for (kind, name), resource in base.items()
        if kind in ("Deployment", "Job")
    }

    def matches(selector: dict[str, str]) -> set[str]:
        return {name for name, pod_labels in labels.items() if selector.items() <= pod_labels.items()}

    for (kind, name), resource in (base | resources(EXAMPLE)).items():
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
    (patch,) = documents(EXAMPLE / "autoscaling.yaml")
    for scaler in (resources(FOLDER / "base")["ScaledObject", "gql-imgproc-worker"], patch):
        (trigger,) = scaler["spec"]["triggers"]
        (metric,) = re.findall(r"imgproc_\w+", trigger["metadata"]["query"])
        assert f'"{metric}"' in metrics_source
        # All other fields have KEDA's defaults. There is no schema to validate them.
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}


def test_internet_policy_excludes_private_networks() -> None:
    """The network policy and the service's own check allow the same IP addresses."""
    policy = resources(FOLDER / "base")["NetworkPolicy", "gql-imgproc-internet"]
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
