"""A cluster without Kubernetes: nodes join, Pods are reached, processes die and come back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from netproxy.api.client import ObjectClient
from netproxy.api.objects import Object
from netproxy.api.resources import NODES, PODS, SERVICES
from netproxy.lab import cluster, hosted, process, traffic
from netproxy.lab.cluster import Lab
from netproxy.lab.names import Role
from netproxy.lab.topology import LabSpec, PodSpec
from netproxy.netns import namespace

PORT = 9376
SERVICE: Object = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "echo", "namespace": "default"},
    "spec": {
        "selector": {"app": "echo"},
        "ipFamilyPolicy": "PreferDualStack",
        "ports": [{"port": 80, "targetPort": PORT}],
    },
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    spec = LabSpec(
        name=f"hosted-{os.getpid()}",
        pods=(PodSpec("one", 1), PodSpec("two", 2)),
        echo_ports=(PORT,),
        is_cluster=True,
    )
    with cluster.running(spec) as made:
        hosted.apply(made, [SERVICE])
        hosted.wait_for_endpoints(made, "echo", 2)
        yield made


def get(lab: Lab, kind: str) -> dict[str, Object]:
    """Objects by name."""
    resource = {"pods": PODS, "nodes": NODES, "services": SERVICES}[kind]

    async def question(client: ObjectClient) -> list[Object]:
        return (await client.list(resource)).items

    return {each["metadata"]["name"]: each for each in hosted.ask(lab, question)}


def inside(lab: Lab, member: str, *command: str) -> str:
    done = namespace.run_inside(
        lab.member(member).name,
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=30, check=False),
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def spread(lab: Lab, space: str) -> set[str]:
    """Who answers at the Service's addresses."""
    addresses = get(lab, "services")["echo"]["spec"]["clusterIPs"]
    assert len(addresses) == 2
    found: set[str] = set()
    for address in addresses:
        assert traffic.wait_answer(space, address, 80)
        seen = traffic.probe(space, address, 80, count=30)
        assert seen.failures == []
        found |= set(seen.answered)
    return found


def test_a_service_is_reached_from_pods_and_nodes_of_both(lab: Lab) -> None:
    for pod in ("one", "two"):
        assert spread(lab, hosted.pod_namespace(lab, pod)) == {"one", "two"}
    for node in ("node-1", "node-2"):
        assert spread(lab, lab.member(node).name) == {"one", "two"}


def test_nodes_are_registered_with_prefixes_and_routes(lab: Lab) -> None:
    nodes = get(lab, "nodes")
    assert sorted(nodes) == ["node-1", "node-2"]
    prefixes = {name: node["spec"]["podCIDRs"] for name, node in nodes.items()}
    assert len({each for both in prefixes.values() for each in both}) == 4
    routes = inside(lab, "node-1", "ip", "route", "show", "proto", "110")
    assert f"{prefixes['node-2'][0]} via {lab.member('node-2').addresses[0]}" in routes
    assert f"unreachable {prefixes['node-1'][0]}" in routes


def test_names_are_answered_by_way_of_the_service(lab: Lab) -> None:
    wanted = get(lab, "services")["echo"]["spec"]["clusterIPs"][0]
    name = "echo.default.svc.cluster.local"
    for node in ("node-1", "node-2"):
        assert inside(lab, node, "dig", "+short", "@10.96.0.10", name).split() == [wanted]


def test_the_figures_of_dns_stand_beside_those_of_the_proxy(lab: Lab) -> None:
    inside(lab, "node-1", "dig", "@10.96.0.10", "kubernetes.default.svc.cluster.local")
    page = inside(lab, "node-1", "curl", "--silent", "http://127.0.0.1:10249/metrics")
    assert "coredns_dns_requests_total{" in page
    assert "kubeproxy_sync_proxy_rules_duration_seconds_count" in page


def test_a_control_plane_that_is_killed_comes_back_and_nobody_notices(lab: Lab) -> None:
    first = lab.topology.of_role(Role.NODE)[0]
    before = get(lab, "pods")
    two = hosted.pod_namespace(lab, "two")
    address = get(lab, "services")["echo"]["spec"]["clusterIPs"][0]
    stream = traffic.Stream(two, address, 80, rate=100.0)
    running = lab.processes[first.name]
    # The launcher and the keepers of Pods go on; only the process itself is killed.
    running.send_signal(signal.SIGKILL)
    running.wait()
    time.sleep(0.5)
    lab.processes[first.name] = hosted.start_server(lab, first)
    hosted.wait_for_nodes(lab)
    hosted.wait_for_pods(lab, ["one", "two"])
    after = get(lab, "pods")
    seen = stream.stop()
    assert seen.failures == []
    for name in ("one", "two"):
        assert after[name]["metadata"]["uid"] == before[name]["metadata"]["uid"]
        assert after[name]["status"]["containerStatuses"][0]["restartCount"] == 0
        assert after[name]["status"]["podIPs"] == before[name]["status"]["podIPs"]


def test_a_name_in_use_is_refused(lab: Lab) -> None:
    """Two agents with one state directory would fight: the second one says what is wrong."""
    log = lab.log_path("second")
    node = lab.member("node-2")
    flags = ["--run-pods", "--kubeconfig", str(hosted.node_config(lab))]
    flags += ["--data-dir", str(hosted.data_dir(lab, "node-2")), "--hostname-override", "node-2"]
    flags += ["--node-ip", node.addresses[0], "--healthz-bind-address", ""]
    second = process.spawn(node.name, process.netproxy_command("run", *flags), log=log)
    deadline = time.monotonic() + 40
    while "does another netproxy run pods" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.end(second)
    assert "no launcher of containers" in log.read_text()
    assert hosted.is_ready(get(lab, "pods")["two"])
