"""Another proxy takes over, under traffic: from mode to mode, from kube-proxy and back to it."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.traffic import NODE_IP, PODS, PORT, Traffic, World

CLUSTER_IP = "172.30.0.41"
MANIFEST = f"""
apiVersion: v1
kind: Service
metadata: {{name: svc1, namespace: ns1}}
spec: {{type: NodePort, clusterIP: {CLUSTER_IP}, ports: [{{name: p80, port: 80, nodePort: 3001}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: svc1-1, namespace: ns1, labels: {{kubernetes.io/service-name: svc1}}}}
addressType: IPv4
endpoints: [{{addresses: [{PODS[0]}]}}, {{addresses: [{PODS[1]}]}}]
ports: [{{name: p80, port: {PORT}}}]
"""
MODES = ("nftables", "iptables-legacy", "iptables-nft")
FRONTENDS = ((CLUSTER_IP, 80), (NODE_IP, 3001))


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        yield one


class Proxy(Daemon):
    """``netproxy run`` in some mode, with the one Service above."""

    def __init__(self, space: NetworkNamespace, directory: Path, mode: str) -> None:
        mode, _, variant = mode.partition("-")
        self.flags = ("--proxy-mode", mode, *(["--iptables-variant", variant] if variant else []))
        manifests = directory / "manifests"
        manifests.mkdir(exist_ok=True)
        (manifests / "svc1.yaml").write_text(MANIFEST)
        super().__init__(space, manifests, directory / "log")

    def syncs(self) -> int:
        """How many syncs there were that changed something."""
        return sum(each["event"] == "sync done" for each in self.events())

    def wait_until_settled(self) -> None:
        """Its rules are in place and everybody else's are gone."""
        self.wait_for(self._has_settled, "settled")

    def _has_settled(self) -> bool:
        return any(event["event"] == "in charge" for event in self.events())


def leftovers_of(space: NetworkNamespace, mode: str) -> list[str]:
    """What a mode has in the kernel."""
    if mode == "nftables":
        return re.findall(r"table ip6? netproxy", space.run("nft", "list", "tables"))
    variant = mode.partition("-")[2]
    saved = space.run(f"iptables-{variant}-save") + space.run(f"ip6tables-{variant}-save")
    return re.findall(r"KUBE-\S+", saved)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=["ClusterIP", "NodePort"])
@pytest.mark.parametrize("after", MODES)
@pytest.mark.parametrize("before", MODES)
def test_from_mode_to_mode_no_connection_fails(
    world: World, tmp_path: Path, before: str, after: str, frontend: tuple[str, int]
) -> None:
    first = Proxy(world.node, tmp_path, before)
    first.wait_until_settled()
    with Traffic(world.client, frontend) as traffic:
        traffic.wait_for(20)
        first.stop(signal.SIGKILL)
        traffic.wait_for(20)
        second = Proxy(world.node, tmp_path, after)
        second.wait_until_settled()
        traffic.wait_for(20)
        second.stop()
    assert not traffic.failures
    assert set(traffic.reached) == set(PODS)
    assert leftovers_of(world.node, after)
    for mode in set(MODES) - {after}:
        assert not leftovers_of(world.node, mode), f"of {mode}"


CHANGES = (
    ("type: NodePort", "type: ClusterIP"),
    ("type: NodePort", "type: LoadBalancer, loadBalancerSourceRanges: [198.51.100.0/24]"),
    ("type: NodePort", "type: NodePort, externalIPs: [192.168.99.22]"),
    ("type: NodePort", "type: NodePort, sessionAffinity: ClientIP"),
    ("type: NodePort", "type: LoadBalancer, externalTrafficPolicy: Local"),
    ("nodePort: 3001", "nodePort: 3002"),
    ("ports: [{name: p80,", "ports: [{name: dns, port: 80, protocol: UDP}, {name: p80,"),
    ("ports: [{name: p80,", "ports: [{name: more, port: 81}, {name: p80,"),
)
"""Of the Service above: what is replaced, and by what."""


@pytest.mark.parametrize("mode", MODES)
def test_a_service_that_changes_under_traffic(world: World, tmp_path: Path, mode: str) -> None:
    proxy = Proxy(world.node, tmp_path, mode)
    proxy.wait_until_settled()
    with Traffic(world.client, FRONTENDS[0]) as traffic:
        for old, new in CHANGES:
            assert old in MANIFEST
            count = proxy.syncs()
            proxy.write("svc1.yaml", MANIFEST.replace(old, new, 1))
            proxy.wait_for(lambda before=count: proxy.syncs() > before, new)  # type: ignore[misc]
            traffic.wait_for(10)
            proxy.write("svc1.yaml", MANIFEST)
        traffic.wait_for(10)
        proxy.stop()
    assert not traffic.failures
    assert set(traffic.reached) == set(PODS)


DATA = Path(__file__).parents[1] / "data" / "rules"


def kube_proxys_rules() -> str:
    """What kube-proxy 1.36.2 wrote for this very Service, but for its counters' objects."""
    return re.sub(
        r" -m nfacct --nfacct-name +\S+", "", (DATA / "iptables-TestNodePorts.txt").read_text()
    )


def start_kube_proxy(space: NetworkNamespace, mode: str) -> None:
    """Do to the kernel what kube-proxy does when it starts and finds the one Service."""
    if mode == "nftables":
        space.run("nft", "-f", str(DATA / "nftables-TestNodePorts.txt"))
        return
    variant = mode.partition("-")[2]
    has = space.run(f"iptables-{variant}-save").splitlines()
    wanted = kube_proxys_rules()
    built_in = re.compile(r"-A (INPUT|FORWARD|OUTPUT|PREROUTING|POSTROUTING) |:\w+ ACCEPT ")
    lines = [line for line in wanted.splitlines() if not (built_in.match(line) and line in has)]
    lines = [line for line in lines if not re.match(r":\w+ ACCEPT ", line)]
    space.run(f"iptables-{variant}-restore", "--noflush", stdin="\n".join(lines) + "\n")
    # Then it deletes the chains in nat whose names look like its own and that it has no use for.
    stale = re.compile(r":(KUBE-(?:SVC|SVL|FW|EXT|SEP)-\S+) ")
    names = [m[1] for line in has if (m := stale.match(line)) and f":{m[1]} " not in wanted]
    flush = "".join(f":{name} - [0:0]\n" for name in names)
    delete = "".join(f"-X {name}\n" for name in names)
    space.run(f"iptables-{variant}-restore", "--noflush", stdin=f"*nat\n{flush}{delete}COMMIT\n")


@pytest.mark.parametrize("frontend", FRONTENDS, ids=["ClusterIP", "NodePort"])
@pytest.mark.parametrize("ours", MODES)
@pytest.mark.parametrize("kube_proxys", MODES)
def test_taking_over_from_kube_proxy_no_connection_fails(
    world: World, tmp_path: Path, kube_proxys: str, ours: str, frontend: tuple[str, int]
) -> None:
    start_kube_proxy(world.node, kube_proxys)
    with Traffic(world.client, frontend) as traffic:
        traffic.wait_for(20)
        proxy = Proxy(world.node, tmp_path, ours)
        proxy.wait_until_settled()
        traffic.wait_for(20)
        proxy.stop()
    assert not traffic.failures
    assert "kube-proxy" not in world.node.run("nft", "list", "tables")
    for mode in set(MODES) - {ours}:
        assert not leftovers_of(world.node, mode), f"of {mode}"
    rules = "".join(leftovers_of(world.node, ours))
    assert "KUBE-PROXY-CANARY" not in rules
    assert "KUBE-SEP-4F2A6XUSLFFHYAGK" not in rules, "of a Service that we were not told of"


@pytest.mark.parametrize("ours", MODES)
@pytest.mark.parametrize("kube_proxys", MODES)
def test_handing_back_to_kube_proxy_no_connection_fails(
    world: World, tmp_path: Path, kube_proxys: str, ours: str
) -> None:
    proxy = Proxy(world.node, tmp_path, ours)
    proxy.wait_until_settled()
    with Traffic(world.client, FRONTENDS[0]) as traffic:
        traffic.wait_for(20)
        proxy.stop()
        start_kube_proxy(world.node, kube_proxys)
        traffic.wait_for(20)
        command = [sys.executable, "-m", "netproxy", "cleanup"]
        world.node.run(*command)
        traffic.wait_for(20)
    assert not traffic.failures
    assert "netproxy" not in world.node.run("nft", "list", "tables")
    fresh = NetworkNamespace()
    with fresh:
        start_kube_proxy(fresh, kube_proxys)
        for mode in MODES:
            has, should = leftovers_of(world.node, mode), leftovers_of(fresh, mode)
            assert sorted(has) == sorted(should), mode


def test_a_gap_would_be_noticed(world: World, tmp_path: Path) -> None:
    proxy = Proxy(world.node, tmp_path, "nftables")
    proxy.wait_until_settled()
    proxy.stop()
    with Traffic(world.client, (NODE_IP, 3001)) as traffic:
        traffic.wait_for(5)
        world.node.run("nft", "delete", "table", "ip", "netproxy")
        traffic.wait_for(5)
    assert traffic.failures
