"""A real daemon is asked how it is, and what it has done; the kernel says whether that is true."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from netproxy.core.config import ProxyMode
from tests.netns.daemon import PATIENCE_S, Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.test_run import manifest

NODE = "apiVersion: v1\nkind: Node\nmetadata: {{name: node-a}}\nspec: {{taints: [{taints}]}}\n"
LEAVING = "{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}"
SYNC = "kubeproxy_sync_proxy_rules"


class Asked(Daemon):
    """A daemon that is asked over HTTP."""

    def __init__(self, space: NetworkNamespace, directory: Path, *flags: str) -> None:
        self.flags = ("--hostname-override", "node-a", *flags)
        super().__init__(space, directory, directory.parent / "log")

    def status(self, path: str, address: str = "127.0.0.1:10256") -> int:
        """Of an answer; 0: there was none."""
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}{path}"]
        run = self.space.call(lambda: subprocess.run(command, capture_output=True, text=True))
        return int(run.stdout)

    def body(self, path: str, address: str = "127.0.0.1:10256") -> Any:
        return json.loads(self.space.run("curl", "-sS", f"http://{address}{path}"))

    def values(self) -> dict[tuple[str, str], float]:
        """(name, values of its labels) → value."""
        url = "http://127.0.0.1:10249/metrics"
        text = self.space.run("curl", "-sS", "--compressed", url)
        return {
            (sample.name, ",".join(value for _, value in sorted(sample.labels.items()))): value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            for value in [sample.value]
        }

    def value(self, name: str, labels: str = "IPv4") -> float:
        return self.values().get((name, labels), 0.0)

    def wait_for_status(self, path: str, status: int) -> None:
        self.wait_for(lambda: self.status(path) == status, f"{status} of {path}")

    def wait_for_value(self, name: str, value: float, labels: str = "IPv4") -> None:
        """Or more."""
        self.wait_for(lambda: self.value(name, labels) >= value, f"{name} {labels} of {value}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1", "10.1.0.2"))
    return directory


@pytest.fixture(params=list(ProxyMode), ids=lambda mode: mode.value)
def mode(request: pytest.FixtureRequest) -> ProxyMode:
    chosen: ProxyMode = request.param
    return chosen


@pytest.fixture
def daemon(netns: NetworkNamespace, directory: Path, mode: ProxyMode) -> Iterator[Asked]:
    one = Asked(netns, directory, "--proxy-mode", mode.value)
    try:
        one.wait_for_status("/readyz", 200)
        yield one
    finally:
        one.end()


def test_a_change_moves_the_figures(daemon: Asked) -> None:
    before = daemon.values()
    assert before[f"{SYNC}_service_changes_total", ""] == 1
    assert before[f"{SYNC}_endpoint_changes_total", ""] == 1
    assert before["kubeproxy_sync_full_proxy_rules_duration_seconds_count", "IPv4"] == 1
    assert before["netproxy_services", ""] == 1
    assert before["netproxy_endpoints", ""] == 2
    daemon.write("db.yaml", manifest("db", "10.96.0.2", "10.1.0.9"))
    partial = "kubeproxy_sync_partial_proxy_rules_duration_seconds_count"
    daemon.wait_for_value(partial, 1)
    daemon.wait_for_value("netproxy_services", 2, "")
    after = daemon.values()
    assert after[f"{SYNC}_service_changes_total", ""] == 2
    assert after[f"{SYNC}_endpoint_changes_pending", ""] == 0
    assert after["netproxy_endpoints", ""] == 3
    total = f"{SYNC}_duration_seconds_count", "IPv4"
    assert after[total] == before[total] + after[partial, "IPv4"]
    assert after["netproxy_kernel_batches_total", "IPv4"] > 1
    sent = "netproxy_kernel_sent_bytes_total", "IPv4"
    assert after[sent] > before[sent] > 1000
    when = f"{SYNC}_last_timestamp_seconds", "IPv4"
    assert after[when] > before[when] > 1.7e9


@pytest.mark.parametrize("mode", [ProxyMode.IPTABLES])
def test_iptables_rules_are_as_many_as_the_kernel_has(daemon: Asked) -> None:
    for name, program in (("IPv4", "iptables-save"), ("IPv6", "ip6tables-save")):
        for table in ("nat", "filter"):
            rules = daemon.space.run(program, "-t", table).count("\n-A ")
            assert daemon.value(f"{SYNC}_iptables_total", f"{name},{table}") == rules > 3


def test_repairs_of_drift_are_counted(daemon: Asked, mode: ProxyMode) -> None:
    assert daemon.value("netproxy_drift_repairs_total") == 0
    if mode is ProxyMode.NFTABLES:
        daemon.space.run("nft", "flush", "map", "ip", "netproxy", "service-ips")
    else:
        daemon.space.run("iptables", "-t", "nat", "-F", "KUBE-SERVICES")
    daemon.wait_for_value("netproxy_drift_repairs_total", 1)
    assert daemon.value("netproxy_drift_repairs_total", "IPv6") == 0


def test_the_mode_is_told(daemon: Asked, mode: ProxyMode) -> None:
    address = "http://127.0.0.1:10249"
    assert daemon.space.run("curl", "-sS", f"{address}/proxyMode") == mode.value
    configuration = daemon.body("/configz", "127.0.0.1:10249")["kubeproxy.config.k8s.io"]
    assert configuration["mode"] == mode.value
    assert f"--proxy-mode={mode.value}\n" in daemon.space.run("curl", "-sS", f"{address}/flagz")


@pytest.mark.parametrize("mode", [ProxyMode.NFTABLES])
def test_both_families_are_answered_at_0_0_0_0_as_in_go(daemon: Asked) -> None:
    assert daemon.status("/healthz", "[::1]:10256") == 200
    assert daemon.status("/metrics", "[::1]:10249") == 0, "that is 127.0.0.1 alone"


@pytest.mark.parametrize("mode", [ProxyMode.NFTABLES])
def test_stopping_gives_the_ports_back(daemon: Asked) -> None:
    assert daemon.stop() == 0
    assert [daemon.status("/healthz"), daemon.status("/metrics", "127.0.0.1:10249")] == [0, 0]


def test_a_node_that_leaves_is_not_for_load_balancers(daemon: Asked) -> None:
    daemon.write("node.yaml", NODE.format(taints=LEAVING))
    daemon.wait_for_status("/healthz", 503)
    assert daemon.body("/healthz")["nodeEligible"] is False
    assert daemon.status("/livez") == 200
    daemon.write("node.yaml", NODE.format(taints=""))
    daemon.wait_for_status("/healthz", 200)


def test_a_kernel_that_refuses(netns: NetworkNamespace, directory: Path) -> None:
    """Before the first sync works nothing is ready; what waits for too long is not healthy."""
    with _somebody_owning_the_table(netns):
        one = Asked(netns, directory, "--sync-period", "100ms")
        try:
            failures = f"{SYNC}_nftables_sync_failures_total"
            one.wait_for_status("/healthz", 503)
            one.wait_for_value(failures, 2)
            assert one.status("/livez") == 503
            assert one.status("/readyz") == 503
            status = one.body("/healthz")["status"]
            assert status["IPv4"] == {"lastUpdated": "0001-01-01T00:00:00Z", "healthy": False}
            assert status["IPv6"]["healthy"] is True
            assert one.body("/readyz")["missing"] == ["IPv4: changes wait for too long"]
            values = one.values()
            assert values[failures, "IPv6"] == 0
            assert values[f"{SYNC}_last_timestamp_seconds", "IPv6"] > 0
            assert (f"{SYNC}_last_timestamp_seconds", "IPv4") not in values
            assert values["netproxy_sync_failures_total", "IPv4,full,EPERM"] >= 2
            assert values["kubeproxy_proxy_healthz_total", "503"] >= 1
        except BaseException:
            one.end()
            raise
    try:
        one.wait_for_status("/readyz", 200)
        assert one.status("/healthz") == one.status("/livez") == 200
        assert one.value(f"{SYNC}_last_timestamp_seconds") > 0
    finally:
        one.end()


def test_an_address_that_must_be_had_ends_the_start(
    netns: NetworkNamespace, directory: Path
) -> None:
    first = Asked(netns, directory)
    try:
        first.wait_for_status("/readyz", 200)
        second = Asked(netns, directory, "--bind-address-hard-fail")
        assert second.process.wait(PATIENCE_S) == 4
    finally:
        first.end()
    text = (directory.parent / "log").read_text()
    assert "cannot answer health requests at 0.0.0.0:10256: Address already in use" in text
    assert "--healthz-bind-address" in text


def test_addresses_follow_the_configuration(
    netns: NetworkNamespace, directory: Path, tmp_path: Path
) -> None:
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    file = tmp_path / "config.yaml"
    file.write_text(head + "healthzBindAddress: 127.0.0.1:20256\n")
    one = Asked(netns, directory, "--config", str(file))
    try:
        one.wait_for(lambda: one.status("/readyz", "127.0.0.1:20256") == 200, "the first address")
        new = tmp_path / "config.new"
        new.write_text(head + "healthzBindAddress: 127.0.0.1:30256\n")
        new.rename(file)
        one.wait_for(lambda: one.status("/readyz", "127.0.0.1:30256") == 200, "the second address")
        assert one.status("/readyz", "127.0.0.1:20256") == 0
        assert one.stop(signal.SIGTERM) == 0
    finally:
        one.end()


@contextmanager
def _somebody_owning_the_table(space: NetworkNamespace) -> Iterator[None]:
    """Whatever we ask of the kernel in IPv4 is refused: the table is another process's."""
    command = ["nft", "--interactive"]
    owner = space.call(lambda: subprocess.Popen(command, stdin=PIPE, stdout=DEVNULL, text=True))
    assert owner.stdin is not None
    owner.stdin.write("add table ip netproxy { flags owner; }\n")
    owner.stdin.flush()
    try:
        yield
    finally:
        owner.communicate()
