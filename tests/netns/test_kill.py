"""kill -9 between any two steps: whoever comes next finishes the work, and no connection fails."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.daemon import PATIENCE_S, Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.traffic import PODS, PORT, Traffic, World

STEADY = "172.30.0.41"
_MOST_MOMENTS = 400


def objects(name: str, address: str, *pods: str, protocol: str = "TCP") -> str:
    endpoints = ", ".join(f"{{addresses: [{pod}]}}" for pod in pods)
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: NodePort, clusterIP: {address},
  ports: [{{port: 80, protocol: {protocol}, nodePort: {30000 + int(address.rpartition(".")[2])}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{endpoints}]
ports: [{{port: {PORT}, protocol: {protocol}}}]
"""


BEFORE = (
    objects("steady", STEADY, *PODS)
    + objects("grows", "172.30.0.2", "10.180.9.1")
    + objects("goes", "172.30.0.3", "10.180.9.2", "10.180.9.3", "10.180.9.4")
    + objects("talks", "172.30.0.4", "10.180.9.5", protocol="UDP")
)
AFTER = (
    objects("steady", STEADY, *PODS)
    + objects("grows", "172.30.0.2", "10.180.9.1", "10.180.9.6")
    + objects("talks", "172.30.0.4", protocol="UDP")
    + objects("comes", "172.30.0.5", "10.180.9.7")
)


class Proxy(Daemon):
    """``netproxy run`` in some mode, perhaps with a moment at which it dies."""

    def __init__(self, space: NetworkNamespace, tmp_path: Path, mode: str, text: str) -> None:
        self.flags = flags_of(mode)
        manifests = tmp_path / "manifests"
        manifests.mkdir(exist_ok=True)
        (manifests / "all.yaml").write_text(text)
        super().__init__(space, manifests, tmp_path / "log")

    def settled(self) -> None:
        self.wait_for(lambda: any(e["event"] == "in charge" for e in self.events()), "settled")


class DyingProxy(Proxy):
    """One that dies."""

    def __init__(
        self, space: NetworkNamespace, tmp_path: Path, mode: str, text: str, moment: int
    ) -> None:
        self._moment = moment
        super().__init__(space, tmp_path, mode, text)

    def command(self) -> list[str]:
        python, _, _, *arguments = super().command()
        return [python, "-m", "tests.netns.dying", str(self._moment), *arguments]

    def outlives_it(self) -> bool:
        """Whether it came to the end of its work before the moment."""
        while self.process.poll() is None:
            if any(event["event"] == "in charge" for event in self.events()):
                self.process.send_signal(signal.SIGTERM)
                return self.process.wait(PATIENCE_S) == 0
        return False


def flags_of(mode: str) -> tuple[str, ...]:
    mode, _, variant = mode.partition("-")
    return ("--proxy-mode", mode, *(["--iptables-variant", variant] if variant else []))


def differences(world: World, directory: Path, mode: str) -> str:
    """What a look at the kernel says is not as it should be."""
    command = [sys.executable, "-m", "netproxy", "diff", "-f", str(directory), *flags_of(mode)]
    command += Daemon.node_ip
    done = world.node.call(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


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
    first = Proxy(world.node, tmp_path, before, BEFORE)
    first.settled()
    first.stop(signal.SIGKILL)
    with Traffic(world.client, (STEADY, 80)) as traffic:
        for moment in range(_MOST_MOMENTS):
            one = Proxy(world.node, tmp_path, before, BEFORE)
            one.settled()
            one.stop(signal.SIGKILL)
            dying = DyingProxy(world.node, tmp_path, after, AFTER, moment)
            is_alive = dying.outlives_it()
            heir = Proxy(world.node, tmp_path, after, AFTER)
            heir.settled()
            traffic.wait_for(2)
            heir.stop(signal.SIGKILL)
            assert differences(world, heir.directory, after) == ""
            assert traffic.failures == [], f"died at moment {moment}"
            if is_alive:
                break
            deaths += 1
        else:
            pytest.fail("it never came to the end of its work")
    assert deaths > 10, "there is more to be done than that"
