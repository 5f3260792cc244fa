"""deploy/kubernetes: it cannot be run here, but all it says about us can be compared with the code."""

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
from tests.deploy.installation import assert_memory_fits, assert_served, assert_understood, settings_of
from tests.deploy.test_image import ours

FOLDER = ROOT / "deploy/kubernetes"
EXAMPLE = FOLDER / "overlays/example"
#: Units of Kubernetes.
UNITS = {"Mi": 1024**2, "Gi": 1024**3}
#: The first `kubectl` whose own kustomize knows `labels` and `patches` as they are written today.
OLDEST_KUBECTL = (1, 27)


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


@cache
def runtime(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What a kustomization holds of its own, by kind and name."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    return {
        (document["kind"], document["metadata"]["name"]): document
        for name in kustomization["resources"]
        if (folder / name).is_file()
        for document in documents(folder / name)
    }


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The component, pod and only container of everything that is run."""
    for (kind, name), resource in runtime(FOLDER / "base").items():
        if kind in ("Deployment", "Job"):
            pod = resource["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            yield name.removeprefix("gql-imgproc-"), pod, container


def environment_of(container: dict[str, Any]) -> dict[str, str]:
    """What a container of the example is given."""
    (example,) = documents(EXAMPLE / "kustomization.yaml")
    secrets = (EXAMPLE / "secrets.env").read_text(encoding="utf-8")
    given = dict(runtime(FOLDER / "base")["ConfigMap", "gql-imgproc"]["data"])
    given |= dict(literal.split("=", 1) for literal in example["configMapGenerator"][0]["literals"])
    given |= dict(re.findall(r"^(\w+)=(.*)$", secrets, re.MULTILINE))
    return given | {each["name"]: each["value"] for each in container.get("env", [])}


def size(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def validate(path: Path) -> None:
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "--quiet", "--no-warn", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=ours(),
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_manifest_is_valid(path: Path) -> None:
    validate(path)


def test_every_file_is_used_and_there_is_no_other() -> None:
    for folder in (FOLDER / "base", EXAMPLE):
        (kustomization,) = documents(folder / "kustomization.yaml")
        named = {"kustomization.yaml", *kustomization["resources"]}
        named |= {patch["path"] for patch in kustomization.get("patches", [])}
        named |= {name for each in kustomization.get("secretGenerator", []) for name in each["envs"]}
        assert {name for name in named if "/" not in name} == {path.name for path in folder.iterdir()}
        assert all((folder / name).exists() for name in named)
    (patch,) = documents(EXAMPLE / "autoscaling.yaml")
    assert (patch["kind"], patch["metadata"]["name"]) in runtime(FOLDER / "base")
    images = {container["image"] for _, _, container in pods()}
    (example,) = documents(EXAMPLE / "kustomization.yaml")
    assert images == {image["name"] for image in example["images"]} == {"gql-imgproc"}
    assert all(re.match(r"[0-9]", image["newTag"]) for image in example["images"])


def test_the_example_is_rendered(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    version = subprocess.run([kubectl, "version", "--client"], capture_output=True, text=True) if kubectl else None
    found = re.search(r"v(\d+)\.(\d+)", version.stdout) if version else None
    if not (kubectl and found and (int(found[1]), int(found[2])) >= OLDEST_KUBECTL):
        pytest.skip("there is no kubectl of 1.27 or newer; the references are checked without it")

    rendered = subprocess.run([kubectl, "kustomize", str(EXAMPLE)], capture_output=True, text=True, timeout=60)

    assert rendered.returncode == 0, rendered.stderr
    whole = tmp_path / "rendered.yaml"
    whole.write_text(rendered.stdout)
    validate(whole)
    kinds = [document["kind"] for document in documents(whole)]
    assert sorted(set(kinds)) == [
        *("ConfigMap", "Deployment", "Ingress", "Job", "Namespace", "NetworkPolicy", "PodDisruptionBudget"),
        *("ScaledObject", "Secret", "Service", "ServiceAccount"),
    ]
    assert {document["metadata"].get("namespace", "imgproc") for document in documents(whole)} == {"imgproc"}
    assert "image: registry.example/gql-imgproc:" in rendered.stdout
    assert "image: gql-imgproc\n" not in rendered.stdout


@pytest.mark.parametrize("component", ["migrate", "api", "worker"])
def test_what_is_started_set_and_probed_is_understood(component: str) -> None:
    (container,) = [container for name, _, container in pods() if name == component]

    assert_understood(container["args"])
    settings = settings_of(environment_of(container))

    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    probes = [container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container]
    assert bool(probes) == (component != "migrate")
    for probe in probes:
        url = f"http://pod:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        assert_served(url, container["args"], settings)
    if component == "worker":
        assert_memory_fits(settings, size(container["resources"]["limits"]["memory"]))
        assert "cpu" in container["resources"]["limits"] or settings.cpu_slots == 1


@pytest.mark.parametrize("component", ["migrate", "api", "worker"])
def test_every_pod_may_be_run_where_least_is_allowed(component: str) -> None:
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
    assert ("ServiceAccount", pod["serviceAccountName"]) in runtime(FOLDER / "base")
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp"}


def test_what_stops_has_the_time_that_it_takes() -> None:
    ((_, pod, container),) = [each for each in pods() if each[0] == "api"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    probe = container["readinessProbe"]

    assert pod["terminationGracePeriodSeconds"] > pause + STOP_S + 5
    # By then nobody sends anything new.
    assert pause > probe["periodSeconds"]


def test_labels_lead_from_one_to_the_other() -> None:
    base = runtime(FOLDER / "base")
    labels = {
        name: resource["spec"]["template"]["metadata"]["labels"]
        for (kind, name), resource in base.items()
        if kind in ("Deployment", "Job")
    }

    def matched(selector: dict[str, str]) -> set[str]:
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    for (kind, name), resource in (base | runtime(EXAMPLE)).items():
        spec = resource.get("spec", {})
        match kind:
            case "Deployment" | "PodDisruptionBudget":
                assert matched(spec["selector"]["matchLabels"]) == {name}
            case "Service":
                assert matched(spec["selector"]) == {name}
                (container,) = [each for component, _, each in pods() if name.endswith(component)]
                assert spec["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}
            case "NetworkPolicy":
                assert matched(spec["podSelector"]["matchLabels"])
            case "ScaledObject":
                assert ("Deployment", spec["scaleTargetRef"]["name"]) in base
                # The replicas are its business.
                assert "replicas" not in base["Deployment", spec["scaleTargetRef"]["name"]]["spec"]
            case "Ingress":
                for path in spec["rules"][0]["http"]["paths"]:
                    assert ("Service", path["backend"]["service"]["name"]) in base


def test_the_autoscaler_asks_for_a_metric_that_there_is() -> None:
    told = (ROOT / "gql_imgproc/metrics.py").read_text(encoding="utf-8")
    (patch,) = documents(EXAMPLE / "autoscaling.yaml")
    for scaler in (runtime(FOLDER / "base")["ScaledObject", "gql-imgproc-worker"], patch):
        (trigger,) = scaler["spec"]["triggers"]
        (metric,) = re.findall(r"imgproc_\w+", trigger["metadata"]["query"])
        assert f'"{metric}"' in told
        # Its own defaults; nothing here has a schema for it.
        assert set(trigger["metadata"]) == {"serverAddress", "query", "threshold"}


def test_the_internet_does_not_hold_what_is_near() -> None:
    """The network policy is the second fence: what the service itself lets pass is behind none, and is not narrower."""
    policy = runtime(FOLDER / "base")["NetworkPolicy", "gql-imgproc-internet"]
    (rule,) = policy["spec"]["egress"]
    blocks = [
        (
            ipaddress.ip_network(entry["ipBlock"]["cidr"]),
            [ipaddress.ip_network(cidr) for cidr in entry["ipBlock"]["except"]],
        )
        for entry in rule["to"]
    ]

    def open_to(address: str) -> bool:
        asked = ipaddress.ip_address(address)
        return any(
            asked.version == block.version and asked in block and not any(asked in cidr for cidr in without)
            for block, without in blocks
        )

    assert {port["port"] for port in rule["ports"]} == set(settings_of({}).fetch_allow_ports)
    near = ("10.96.0.1", "172.20.0.10", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.100.100.200", "224.0.0.1")
    near_6 = ("::1", "fd00::1", "fe80::1", "fd00:ec2::254", "2002:a00:1::", "::ffff:10.0.0.1", "64:ff9b::a00:1")
    for address in near + near_6:
        assert not open_to(address), address
        assert check_ip(address, NetworkPolicy()) is not None, address
    for address in ("93.184.215.14", "1.1.1.1", "2606:4700::1111"):
        assert open_to(address), address
        assert check_ip(address, NetworkPolicy()) is None, address
