"""kill -9 between any two steps: whoever comes next finishes the work, and no connection fails."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.dataplanes import in_kernel
from netproxy.kernel.addresses import read_addresses
from netproxy.model.events import Listed, Upsert
from netproxy.model.ip import IPAddress
from netproxy.model.parse import parse_object
from netproxy.proxier import Proxier
from netproxy.sources.manifests.documents import read_documents
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.traffic import NODE_IP, PODS, PORT, Traffic, World

STEADY, TALKS = "172.30.0.41", "172.30.0.4"
TIMEOUT = "net.netfilter.nf_conntrack_tcp_timeout_close_wait"


def objects(name: str, address: str, *pods: str, protocol: str = "TCP") -> str:
    endpoints = ", ".join(f"{{addresses: ['{pod}']}}" for pod in pods)
    family = "IPv6" if ":" in address else "IPv4"
    node_port = 30000 + int(re.split("[.:]", address)[-1])
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: NodePort, clusterIP: '{address}',
  ports: [{{port: 80, protocol: {protocol}, nodePort: {node_port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
endpoints: [{endpoints}]
ports: [{{port: {PORT}, protocol: {protocol}}}]
"""


BEFORE = (
    objects("steady", STEADY, *PODS)
    + objects("grows", "172.30.0.2", "10.180.9.1")
    + objects("goes", "172.30.0.3", "10.180.9.2", "10.180.9.3", "10.180.9.4")
    + objects("talks", TALKS, "10.180.9.5", protocol="UDP")
    + objects("goes6", "fd30::6", "fd80::1", "fd80::2")
)
AFTER = (
    objects("steady", STEADY, *PODS)
    + objects("grows", "172.30.0.2", "10.180.9.1", "10.180.9.6")
    + objects("talks", TALKS, protocol="UDP")
    + objects("comes", "172.30.0.5", "10.180.9.7")
    + objects("comes6", "fd30::7", "fd80::3", "fd80::4", "fd80::5")
)


class DyingProxy(Daemon):
    """``netproxy run`` that dies at some moment."""

    def __init__(self, space: NetworkNamespace, tmp_path: Path, mode: str, moment: int) -> None:
        self._moment = moment
        name, _, variant = mode.partition("-")
        self.flags = ("--proxy-mode", name, "--iptables-variant", variant or "auto")
        manifests = tmp_path / "manifests"
        manifests.mkdir(exist_ok=True)
        (manifests / "all.yaml").write_text(AFTER)
        super().__init__(space, manifests, tmp_path / "log")

    def command(self) -> list[str]:
        python, _, _, *arguments = super().command()
        return [python, "-m", "tests.netns.dying", str(self._moment), *arguments]

    def outlives_it(self) -> bool:
        """Whether it came to the end of its work before the moment."""
        while self.process.poll() is None:
            if any(event["event"] == "in charge" for event in self.events()):
                return self.stop(signal.SIGTERM) == 0
            time.sleep(0.005)
        return False


def program(world: World, mode: str, text: str) -> int:
    """What another process does that nobody disturbs; returns how much it had to change."""
    name, _, variant = mode.partition("-")
    config = ProxyConfig(
        "node-1",
        node_ips=(IPAddress(NODE_IP),),
        mode=ProxyMode(name),
        iptables_variant=variant or "auto",
    )
    events = [
        Upsert(obj)
        for document in read_documents(text.encode(), "test")
        for obj in parse_object(document).objects
    ]

    def work() -> int:
        with in_kernel(config, take_over=True) as kernel:
            proxier = Proxier(config, kernel.by_family, read_addresses, kernel.flows)
            proxier.apply_events([*events, Listed()])
            report = proxier.sync()
            done = kernel.settle()
            return sum(each.operations for each in report.families) + len(done)

    return world.node.call(work)


def begin(world: World, mode: str) -> None:
    """The state that the one that dies finds: everything has something to be done about it."""
    program(world, mode, BEFORE)
    world.node.write_sysctl(TIMEOUT, "60\n")

    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.sendto(b"anybody there?", (TALKS, 80))

    world.client.call(talk)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("nftables", "nftables"),
        ("iptables-legacy", "iptables-legacy"),
        ("iptables-nft", "nftables"),
        ("nftables", "iptables-legacy"),
    ],
)
def test_whenever_it_dies(world: World, tmp_path: Path, before: str, after: str) -> None:
    deaths = 0
    begin(world, before)
    with Traffic(world.client, (STEADY, 80)) as traffic:
        while not DyingProxy(world.node, tmp_path, after, deaths).outlives_it():
            traffic.wait_for(2)
            program(world, after, AFTER)
            assert program(world, after, AFTER) == 0, "all is as it should be"
            assert traffic.failures == [], f"died at moment {deaths}"
            begin(world, before)
            deaths += 1
        assert program(world, after, AFTER) == 0
    assert traffic.failures == []
    assert deaths >= 6, "there is more to be done than that"
