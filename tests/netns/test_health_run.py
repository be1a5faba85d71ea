"""Load balancers ask a real daemon about a Service, in both families."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE

import pytest

from netproxy.core.config import ProxyMode
from netproxy.model.ip import Family
from tests.conformance import covers
from tests.netns.daemon import PATIENCE_S, Daemon
from tests.netns.namespace import NetworkNamespace

NODE = {Family.IPV4: "192.168.0.2", Family.IPV6: "2001:db8::2"}
PORT = 32000
POD = {Family.IPV4: "10.1.0.{}", Family.IPV6: "fd00:1::{}"}
FLAGS = ("--hostname-override", "node-a", "--node-ip", NODE[Family.IPV6])
READY = "{ready: true}"
DRAINING = "{ready: false, serving: true, terminating: true}"

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: {port}
  clusterIPs: [10.96.0.{number}, "fd00:96::{number}"]
  ports: [{{port: 80, nodePort: 3000{number}}}]
"""
SLICE = """
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{word}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
endpoints:
- {{addresses: ["{local}"], nodeName: node-a, conditions: {conditions}}}
- {{addresses: ["{remote}"], nodeName: node-b}}
ports: [{{port: 8080}}]
"""


def manifest(
    name: str = "web", *, port: int = PORT, conditions: str = READY, number: int = 1
) -> str:
    slices = (
        SLICE.format(
            name=name,
            family=family.label,
            word=family.label.lower(),
            conditions=conditions,
            local=POD[family].format(number),
            remote=POD[family].format(number + 100),
        )
        for family in NODE
    )
    return SERVICE.format(name=name, port=port, number=number) + "".join(slices)


class Node(Daemon):
    """A daemon on a node with an address in each family."""

    def __init__(self, space: NetworkNamespace, directory: Path, mode: ProxyMode) -> None:
        self.flags = (*FLAGS, "--proxy-mode", mode.value)
        super().__init__(space, directory, directory.parent / "log")

    def ask(self, family: Family, port: int = PORT) -> http.client.HTTPResponse | None:
        """The answer; None when nobody listens."""

        def talk() -> http.client.HTTPResponse | None:
            connection = http.client.HTTPConnection(NODE[family], port, timeout=PATIENCE_S)
            try:
                connection.request("GET", "/healthz")
                response = connection.getresponse()
                self.body = response.read()
                return response
            except ConnectionError:  # or it closes while we ask
                return None
            finally:
                connection.close()

        return self.space.call(talk)

    def status(self, family: Family, port: int = PORT) -> int:
        """Of the answer; 0 when nobody listens."""
        response = self.ask(family, port)
        return response.status if response else 0

    def rules(self) -> str:
        """Of both modes: one of them is in use."""
        saved = self.space.run("iptables-save")
        return super().rules() if "KUBE-SERVICES" not in saved else saved

    def wait_for_status(self, status: int, port: int = PORT) -> None:
        for family in NODE:
            self.wait_for(
                lambda family=family: self.status(family, port) == status,  # type: ignore[misc]
                f"{status} on {family} port {port}",
            )


@pytest.fixture(params=list(ProxyMode), ids=lambda mode: mode.value)
def mode(request: pytest.FixtureRequest) -> ProxyMode:
    chosen: ProxyMode = request.param
    return chosen


@pytest.fixture
def node(netns: NetworkNamespace, tmp_path: Path, mode: ProxyMode) -> Iterator[Node]:
    for address in NODE.values():
        netns.run("ip", "address", "add", address, "dev", "lo", "nodad")
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "web.yaml").write_text(manifest())
    one = Node(netns, directory, mode)
    try:
        one.wait_for_status(200)
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@covers("health.answers", scenario="health: answers")
@pytest.mark.parametrize("family", NODE, ids=lambda family: family.label)
def test_the_answer_is_the_references(node: Node, family: Family) -> None:
    response = node.ask(family)
    assert response is not None
    assert response.status == 200
    assert response.getheader("Content-Type") == "application/json"
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("X-Load-Balancing-Endpoint-Weight") == "1"
    assert json.loads(node.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": 1,
        "serviceProxyHealthy": True,
    }


def test_who_serves_nothing_does_not_pay_for_http(node: Node) -> None:
    """Until such a Service appears, aiohttp is not in memory."""
    assert "aiohttp" in Path(f"/proc/{node.process.pid}/maps").read_text()
    node.stop()
    (node.directory / "web.yaml").write_text(manifest().replace("Policy: Local", "Policy: Cluster"))
    node.flags += ("--healthz-bind-address", "", "--metrics-bind-address", "")
    node.start()
    node.wait_for(lambda: any(e["event"] == "sync done" for e in node.events()), "first sync")
    assert "aiohttp" not in Path(f"/proc/{node.process.pid}/maps").read_text()


@covers("health.terminating", scenario="health: the last endpoint terminates")
def test_load_balancers_turn_away_when_the_last_ready_endpoint_terminates(node: Node) -> None:
    node.write("web.yaml", manifest(conditions=DRAINING))
    node.wait_for_status(503)
    # Those who come all the same are still served.
    assert "10.1.0.1" in node.rules()
    node.write("web.yaml", manifest())
    node.wait_for_status(200)


@covers("health.ports", scenario="health: ports follow")
def test_ports_follow_the_service(node: Node) -> None:
    node.write("web.yaml", manifest(port=PORT + 1))
    node.wait_for_status(200, PORT + 1)
    node.wait_for_status(0)
    cluster = manifest(port=PORT + 1).replace("Policy: Local", "Policy: Cluster")
    node.write("web.yaml", cluster)
    node.wait_for_status(0, PORT + 1)
    node.write("web.yaml", manifest())
    node.wait_for_status(200)
    (node.directory / "web.yaml").unlink()
    node.wait_for_status(0)


@covers("health.ports", scenario="health: a port in use")
def test_a_port_in_use_is_named_and_tried_again(node: Node) -> None:
    node.write("db.yaml", manifest("db", number=2))
    event = "cannot answer health checks"
    node.wait_for(lambda: sum(e["event"] == event for e in node.events()) == 2, "two complaints")
    said = next(e for e in node.events() if e["event"] == event)
    assert said["service"] == "default/db"
    assert said["port"] == PORT
    assert said["error"] == "Address already in use"
    assert "default/web has the same healthCheckNodePort" in str(said["hint"])
    (node.directory / "web.yaml").unlink()
    node.wait_for(
        lambda: all(node.ask(f) and json.loads(node.body)["service"]["name"] == "db" for f in NODE),
        "the port to go to its other Service",
    )


@pytest.mark.parametrize("mode", [ProxyMode.NFTABLES])
def test_a_proxy_that_cannot_keep_up_says_so(node: Node) -> None:
    node.stop()
    node.flags += ("--sync-period", "100ms")
    node.start()
    node.wait_for_status(200)
    with _somebody_owning_the_table(node.space):
        node.wait_for_status(503)
        for family in NODE:
            assert node.status(family) == 503
            assert json.loads(node.body)["localEndpoints"] == 1
            assert json.loads(node.body)["serviceProxyHealthy"] is False
    node.wait_for_status(200)


@contextmanager
def _somebody_owning_the_table(space: NetworkNamespace) -> Iterator[None]:
    """Whatever we ask of the kernel is refused: the table belongs to another process's socket."""
    command = ["nft", "--interactive"]
    owner = space.call(lambda: subprocess.Popen(command, stdin=PIPE, stdout=DEVNULL, text=True))
    assert owner.stdin is not None
    owner.stdin.write("delete table ip netproxy; add table ip netproxy { flags owner; }\n")
    owner.stdin.flush()
    try:
        yield
    finally:
        owner.communicate()


def test_stopping_gives_the_ports_back(node: Node) -> None:
    assert node.stop() == 0
    assert [node.status(family) for family in NODE] == [0, 0]
