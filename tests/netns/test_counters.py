"""Connections are counted by service port: by the kernel, exactly, and whatever changes around."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.dataplanes import Dataplanes, in_kernel
from netproxy.kernel.addresses import read_addresses
from netproxy.model.events import Delete, Listed, Upsert
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServicePortName
from netproxy.model.parse import parse_object
from netproxy.proxier import Proxier
from netproxy.sources.manifests.documents import read_documents
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.traffic import NODE_IP, PODS, PORT, World

CLUSTER_IP, OTHER_IP = "172.30.0.41", "172.30.0.42"
WEB = ServicePortName("default", "web", "", "TCP")
TALK = ServicePortName("default", "talk", "", "UDP")
CONFIG = ProxyConfig("node-1", node_ips=(IPAddress(NODE_IP),), service_counters=True)
CONFIGS = {
    "nftables": CONFIG,
    "legacy": CONFIG._replace(mode=ProxyMode.IPTABLES, iptables_variant="legacy"),
    "nft": CONFIG._replace(mode=ProxyMode.IPTABLES, iptables_variant="nft"),
}


def manifest(name: str, address: str, *pods: str, protocol: str = "TCP", **more: str) -> str:
    listed = ", ".join(f"{{addresses: [{pod}]}}" for pod in pods)
    extra = "".join(f", {field}: {value}" for field, value in more.items())
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: NodePort, clusterIP: {address}{extra},
  ports: [{{port: 80, protocol: {protocol}, nodePort: 300{address[-2:]}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{listed}]
ports: [{{port: {PORT}, protocol: {protocol}}}]
"""


class Node:
    """A proxy that counts, in a world with pods."""

    def __init__(self, world: World, config: ProxyConfig = CONFIG) -> None:
        self._world = world
        self._config = config
        self.start()

    def start(self) -> None:
        self.kernel: Dataplanes = self._world.node.call(lambda: in_kernel(self._config))
        self.proxier = Proxier(
            self._config, self.kernel.by_family, read_addresses, self.kernel.flows
        )

    def put(self, *manifests: str) -> int:
        """Program them; returns how much there was to change."""
        events = [
            Upsert(obj)
            for text in manifests
            for document in read_documents(text.encode(), "test")
            for obj in parse_object(document).objects
        ]
        self.proxier.apply_events([*events, Listed()])
        return self.sync()

    def sync(self) -> int:
        report = self._world.node.call(self.proxier.sync)
        return sum(each.operations for each in report.families)

    def counts(self) -> dict[ServicePortName, int]:
        return self._world.node.call(self.proxier.read_counts)[Family.IPV4]

    def connect(self, address: str, port: int = 80, times: int = 1) -> None:
        def connect() -> None:
            with socket.create_connection((address, port), 5) as connection:
                assert connection.recv(64)

        for _ in range(times):
            self._world.client.call(connect)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.fixture(params=list(CONFIGS))
def one(world: World, request: pytest.FixtureRequest) -> Iterator[Node]:
    node = Node(world, CONFIGS[request.param])
    yield node
    node.kernel.close()


def test_each_connection_counts_once(one: Node) -> None:
    one.put(manifest("web", CLUSTER_IP, *PODS), manifest("db", OTHER_IP, *PODS))
    one.connect(CLUSTER_IP, times=7)
    one.connect(NODE_IP, 30041, times=5)
    one.connect(OTHER_IP, times=2)
    assert one.counts() == {WEB: 12, WEB._replace(name="db"): 2}
    one.connect(CLUSTER_IP)
    assert one.counts()[WEB] == 13


def test_affinity_counts_once_as_well(one: Node) -> None:
    one.put(manifest("web", CLUSTER_IP, *PODS, sessionAffinity="ClientIP"))
    one.connect(CLUSTER_IP, times=4)
    assert one.counts() == {WEB: 4}


def test_a_conversation_over_udp_is_one(one: Node, world: World) -> None:
    one.put(manifest("talk", CLUSTER_IP, PODS[0], protocol="UDP"))

    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.connect((CLUSTER_IP, 80))
            for _ in range(5):
                with contextlib.suppress(ConnectionRefusedError):  # nobody listens there
                    speaker.send(b"?")

    world.client.call(talk)
    assert one.counts() == {TALK: 1}


def test_changes_do_not_touch_what_was_counted(one: Node) -> None:
    one.put(manifest("web", CLUSTER_IP, *PODS))
    one.connect(CLUSTER_IP, times=3)
    assert one.counts() == {WEB: 3}
    for pods in (PODS[:1], (), PODS):
        one.put(manifest("web", CLUSTER_IP, *pods))
    one.connect(CLUSTER_IP)
    assert one.counts() == {WEB: 4}
    one.put(manifest("web", OTHER_IP, *PODS))
    one.connect(OTHER_IP)
    assert one.counts() == {WEB: 5}, "another address, the same service port"
    one.proxier.apply_events([Delete(("Service", "default", "web"))])
    one.sync()
    assert one.counts() == {}


def test_who_comes_after_goes_on_counting_and_writes_nothing(one: Node) -> None:
    text = manifest("web", CLUSTER_IP, *PODS)
    one.put(text)
    one.connect(CLUSTER_IP, times=3)
    one.kernel.close()
    one.start()
    assert one.put(text) == 0
    one.connect(CLUSTER_IP)
    assert one.counts() == {WEB: 4}


def test_text_and_bytes_are_the_same_rules(world: World, netns: NetworkNamespace) -> None:
    from netproxy.dataplanes import on_paper, render_all

    one = Node(world)
    text = manifest("web", CLUSTER_IP, *PODS)
    one.put(text)
    paper = on_paper(CONFIG, tell=lambda _: None)
    proxier = Proxier(CONFIG, paper.by_family, lambda family: one.proxier._addresses[family])
    objects = (o for d in read_documents(text.encode(), "t") for o in parse_object(d).objects)
    proxier.apply_events([*map(Upsert, objects), Listed()])
    rendered = render_all(proxier.plan(against_kernel=False), proxier.owners, title="test")
    netns.run("nft", "-f", "-", stdin=rendered)
    assert netns.run("nft", "list", "ruleset") == world.node.run("nft", "list", "ruleset")
    one.kernel.close()


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_whoever_scrapes_sees_them(world: World, tmp_path: Path, mode: str) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "web.yaml").write_text(manifest("web", CLUSTER_IP, *PODS))

    class Counting(Daemon):
        flags = ("--service-counters", "--proxy-mode", mode)

    one = Counting(world.node, manifests, tmp_path / "log")
    try:
        one.wait_for(lambda: any(e["event"] == "in charge" for e in one.events()), "settled")
        for _ in range(6):
            world.client.call(connect_once)
        page = world.node.run("curl", "-sS", "http://127.0.0.1:10249/metrics")
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith("netproxy_service_connections_total{") and 'IPv4"' in line
        ]
        assert 'namespace="default"' in line
        assert 'service="web"' in line
        assert line.endswith(" 6.0")
    finally:
        one.process.kill()
        one.process.wait()


def connect_once() -> None:
    with socket.create_connection((CLUSTER_IP, 80), 5) as connection:
        assert connection.recv(64)
