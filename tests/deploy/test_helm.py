"""deploy/helm: three sets of values, rendered, judged by Kubernetes' schemas and by rtcrelay itself."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from rtcrelay import keys

from .charts import CHART, EXAMPLES, GOLDEN, HELM, example, helm, objects, template
from .guide import blocks

pytestmark = [
    pytest.mark.requires(module="kubernetes_validate", install="pip install --editable '.[test]'"),
    pytest.mark.requires(file=HELM, install="pip install --editable '.[test]'"),
]

README = CHART.parent / "README.md"
ONE = ("--set", "publicAddresses={203.0.113.10:3478}")
COMPONENT = "app.kubernetes.io/component"


@cache
def rendered(name: str) -> list[dict[str, Any]]:
    return objects(example(name))


def workloads(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(role, pod's specification) of everything that runs rtcrelay."""
    for each in rendered(name):
        role = each["metadata"]["labels"][COMPONENT]
        if each["kind"] in ("Deployment", "DaemonSet") and role != "valkey":
            yield role, each["spec"]["template"]["spec"]


def one(name: str, kind: str, role: str) -> dict[str, Any]:
    """The object of a kind for a role."""
    (found,) = [o for o in rendered(name) if (o["kind"], o["metadata"]["labels"][COMPONENT]) == (kind, role)]
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_chart_is_clean(name: str) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", str(CHART / "examples" / f"{name}.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_would_run_is_what_was_reviewed(name: str) -> None:
    then = (GOLDEN / f"{name}.yaml").read_text().splitlines()
    difference = "\n".join(difflib.unified_diff(then, example(name).splitlines(), "reviewed", "now", lineterm=""))
    assert not difference, f"{difference}\nif that is meant: python -m tests.deploy.charts"


@pytest.mark.parametrize("version", ["1.27", "1.37"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_kubernetes_takes_every_object(name: str, version: str) -> None:
    from kubernetes_validate import validate  # type: ignore[import-untyped]  # it has no types

    for each in rendered(name):
        if each["kind"] != "ServiceMonitor":  # the Prometheus operator's
            validate(each, version, strict=True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_starts_a_service_with_a_sound_configuration(name: str, tmp_path: Path) -> None:
    (config,) = [each["data"] for each in rendered(name) if each["kind"] == "ConfigMap"]
    for file, text in config.items():
        here = text.replace("/etc/rtcrelay", str(tmp_path)).replace("/run/secrets/rtcrelay", str(tmp_path))
        (tmp_path / file).write_text(here)
    for directory, file in (("token", "token"), ("redis", "password")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / file).write_text("0123456789abcdef\n")
        (tmp_path / directory / file).chmod(0o440)
    (tmp_path / "keys").mkdir()
    keys.write_key_file(tmp_path / "keys" / "keys.toml", keys.generate(0))
    (pods,) = re.findall(r'signaling_peers = \["(\d+\.\d+)', config["config.toml"])[:1]
    environ = {"POD_IP": f"{pods}.3.7", "POD_NAME": "rtcrelay-transceiver-7f9c-x2x4z"}
    for role, pod in workloads(name):
        (container,) = pod["containers"]
        words = [re.sub(r"\$\((\w+)\)", lambda found: environ[found[1]], word) for word in container["args"]]
        assert words[1] == role
        done = subprocess.run(
            [sys.executable, "-m", "rtcrelay", *words, "--config", str(tmp_path / "config.toml"), "--check"],
            capture_output=True,
            text=True,
            env=os.environ | {"RUNTIME_DIRECTORY": str(tmp_path)},
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "configuration is sound" in done.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_pods_may_do_nothing_that_they_need_not(name: str) -> None:
    for _, pod in workloads(name):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {each["secret"]["defaultMode"] for each in pod["volumes"] if "secret" in each} == {0o440}
        assert not [variable for variable in container["env"] if "secretKeyRef" in str(variable)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_probes_ask_the_process_alone(name: str) -> None:
    for _, pod in workloads(name):
        (container,) = pod["containers"]
        paths = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")]
        assert paths == ["/healthz", "/healthz", "/readyz"]


@pytest.mark.parametrize("name", ["one-host", "one-cluster"])
def test_spp_reaches_a_transceiver_from_relays_only(name: str) -> None:
    rules = one(name, "NetworkPolicy", "transceiver")["spec"]["ingress"]
    media = {"port": 7000, "endPort": 7000, "protocol": "UDP"}
    (sources,) = [rule["from"] for rule in rules if media in rule["ports"]]
    if name == "one-host":
        assert sources == [{"ipBlock": {"cidr": "192.168.1.20/32"}}]
    else:
        (source,) = sources
        assert source["podSelector"]["matchLabels"][COMPONENT] == "relay"
        (listed,) = [
            [block["podSelector"]["matchLabels"][COMPONENT] for block in rule["from"]]
            for rule in one(name, "NetworkPolicy", "relay")["spec"]["ingress"]
            if {"port": "spp", "protocol": "UDP"} in rule["ports"]
        ]
        assert listed == ["transceiver"]


def test_a_pod_has_an_hour_for_its_calls_and_a_minute_to_tell_those_that_are_left() -> None:
    (pod,) = [pod for role, pod in workloads("one-cluster") if role == "transceiver"]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert pod["terminationGracePeriodSeconds"] == 3600
    assert hook == "sleep 5; rtcrelay drain --yes --wait --timeout 3540s || true"
    config = one("one-cluster", "ConfigMap", "config")["data"]["config.toml"]
    assert 'drain_timeout = "20s"' in config, "SIGTERM comes after the hook and ends what is left"


def test_clients_keep_their_addresses_behind_a_load_balancer() -> None:
    service = one("one-cluster", "Service", "relay")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert {port["protocol"] for port in service["ports"]} == {"UDP"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_media_of_transceivers_passes_no_service(name: str) -> None:
    services = [o for o in rendered(name) if o["kind"] == "Service" and o["metadata"]["labels"][COMPONENT] != "relay"]
    assert {port["protocol"] for each in services for port in each["spec"]["ports"]} == {"TCP"}


def test_it_scales_by_sessions_and_by_how_late_the_event_loop_is() -> None:
    metrics = one("one-cluster", "HorizontalPodAutoscaler", "transceiver")["spec"]["metrics"]
    asked = {
        each["pods"]["metric"]["selector"]["matchLabels"]["measure"]: each["pods"]["target"]["averageValue"]
        for each in metrics
    }
    assert asked == {"sessions": "700m", "event_loop_lag": "500m"}
    assert {each["pods"]["metric"]["name"] for each in metrics} == {"rtcrelay_transceiver_load"}
    assert "replicas" not in one("one-cluster", "Deployment", "transceiver")["spec"]


def test_prometheus_finds_every_pod_by_one_list() -> None:
    monitor, service = one("one-cluster", "ServiceMonitor", "metrics"), one("one-cluster", "Service", "metrics")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    for role, pod in workloads("one-cluster"):
        labels = one("one-cluster", "Deployment", role)["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        assert "metrics" in [port["name"] for port in pod["containers"][0]["ports"]]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], "publicAddresses is empty"),
        ([*ONE, "--set", "relay.exposure=NodePort"], "relay.exposure"),
        ([*ONE, "--set", "relay.port=70000"], "relay.port"),
        ([*ONE, "--set", "replicas=3"], "replicas"),
        (["--set", "publicAddresses={relay.example.com:3478}"], "publicAddresses.0"),
        ([*ONE, "--set", "signaling.enabled=true"], "signaling finds transceivers by redis.url"),
        ([*ONE, "--set", "valkey.enabled=true,redis.url=redis://r"], "exclude each other"),
        ([*ONE, "--set", "redis.url=redis://:secret@r"], "redis.url"),
        ([*ONE, "--set", "redis.passwordSecret=p"], "redis.passwordSecret is that of redis.url"),
        ([*ONE, "--set", "ingress.enabled=true"], "ingress.host"),
        ([*ONE, "--set", "relay.ingressOnly=true"], "relay.ingressOnly wants relay.clusters"),
        ([*ONE, "--set", "relay.drainSeconds=30"], "10 more than relay.drainSeconds"),
        ([*ONE, "--set", "transceiver.terminationGracePeriodSeconds=30"], "terminationGracePeriodSeconds"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_a_reason(values: list[str], complaint: str) -> None:
    done = helm("template", "rtcrelay", str(CHART), *values)
    assert done.returncode != 0
    assert complaint in done.stderr


def test_relays_and_policies_know_the_ports_of_all_workers() -> None:
    config = one("many-regions", "ConfigMap", "config")["data"]["config.toml"]
    assert 'transceivers = ["10.7.0.0/16:7000-7003"]' in config
    rules = one("many-regions", "NetworkPolicy", "transceiver")["spec"]["ingress"]
    assert {"port": 7000, "endPort": 7003, "protocol": "UDP"} in rules[0]["ports"]


def test_settings_come_out_as_they_went_in() -> None:
    manifests = template(*ONE, "--set-json", 'relay.settings={"max_flows":1000000,"admission_exempt":["10.0.0.0/8"]}')
    (config,) = [each["data"]["config.toml"] for each in objects(manifests) if each["kind"] == "ConfigMap"]
    assert "max_flows = 1000000\n" in config
    assert 'admission_exempt = ["10.0.0.0/8"]\n' in config


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for commands in blocks(README):
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", commands],
            cwd=CHART.parents[2],
            env=os.environ | {"PATH": path, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}{done.stderr}"
