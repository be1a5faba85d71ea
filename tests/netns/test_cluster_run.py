"""The daemon against an API server over real HTTP, on a real kernel."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml

from netproxy.deploy import wishes
from netproxy.deploy.manifest import plan_manifest
from netproxy.render.deploy import render_manifest
from tests.kube.objects import endpoint_slice, node, service
from tests.kube.server import ApiServer
from tests.netns.daemon import PATIENCE_S, Daemon
from tests.netns.namespace import NetworkNamespace
from tests.unit.deploy.rights import granted, needed

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


class ClusterDaemon(Daemon):
    """``netproxy run`` that asks an API server."""

    def __init__(self, space: NetworkNamespace, tmp_path: Path, *flags: str) -> None:
        self.flags = flags
        super().__init__(space, tmp_path, tmp_path / "log")

    def command(self) -> list[str]:
        command = [sys.executable, "-m", "netproxy", "run", "--log-format", "json", "-v", "4"]
        return [*command, "--hostname-override", "node-1", *self.flags]

    def says(self, event: str) -> list[dict[str, object]]:
        return [each for each in self.events() if each["event"] == event]

    def wait_for_rule(self, text: str) -> None:
        self.wait_for(lambda: text in self.rules(), text)

    def wait_for_no_rule(self, text: str) -> None:
        self.wait_for(lambda: text not in self.rules(), f"no {text}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def api(netns: NetworkNamespace) -> Iterator[ApiServer]:
    def listen(port: int) -> socket.socket:
        return netns.call(lambda: socket.create_server(("127.0.0.1", port), backlog=128))

    with ApiServer(listen=listen) as server:
        server.put(node("node-1", addresses=("192.168.0.2",)))
        server.put(service("web", "10.96.0.10"), endpoint_slice("web", ["10.1.0.1", "10.1.0.2"]))
        yield server


@pytest.fixture
def daemon(netns: NetworkNamespace, api: ApiServer, tmp_path: Path) -> Iterator[ClusterDaemon]:
    one = ClusterDaemon(netns, tmp_path, "--master", api.url)
    try:
        # The families are programmed one after the other; this is said when both are done.
        one.wait_for(lambda: bool(one.says("sync done")), "first sync")
        assert "10.96.0.10 . tcp . 80 : goto cluster-2" in one.rules()
        yield one
    finally:
        one.end()


def test_it_follows_the_server(api: ApiServer, daemon: ClusterDaemon) -> None:
    api.put(endpoint_slice("web", ["10.1.0.1", "10.1.0.2", "10.1.0.3"]))
    daemon.wait_for_rule("10.96.0.10 . tcp . 80 : goto cluster-3")
    api.put(service("db", "10.96.0.11"), endpoint_slice("db", ["10.1.0.9"]))
    daemon.wait_for_rule("10.96.0.11 . tcp . 80 : goto cluster-1")
    api.delete("services", "web")
    daemon.wait_for_no_rule("10.96.0.10")
    assert "10.96.0.11" in daemon.rules()


def test_a_server_that_is_away_takes_no_rule_along(api: ApiServer, daemon: ClusterDaemon) -> None:
    before = daemon.rules()
    api.stop()
    daemon.wait_for(
        lambda: any("api server" in str(e).lower() or "cut" in str(e) for e in daemon.events()[2:]),
        "a word about the server",
    )
    assert daemon.rules() == before
    api.put(endpoint_slice("web", ["10.1.0.5"]))
    api.start()
    daemon.wait_for_rule("10.96.0.10 . tcp . 80 : goto cluster-1")


def test_history_that_is_gone_is_listed_again_without_touching_what_is_right(
    api: ApiServer, daemon: ClusterDaemon
) -> None:
    daemon.wait_for(lambda: bool(daemon.says("in charge")), "settled")
    done = len(daemon.says("sync done"))
    api.cut("services")
    api.expire("services")
    api.put(service("db", "10.96.0.11"))
    daemon.wait_for_rule("10.96.0.11")
    syncs = daemon.says("sync done")[done:]
    assert not any(sync["full"] for sync in syncs)
    assert sum(int(str(sync["operations"])) for sync in syncs) <= 4, "one Service's elements"


def test_the_node_says_where_it_is(api: ApiServer, daemon: ClusterDaemon) -> None:
    near = {"hints": {"forZones": [{"name": "zone-a"}]}}
    far = {"hints": {"forZones": [{"name": "zone-b"}]}}
    one = endpoint_slice("web", ["10.1.0.1", "10.1.0.2"])
    one["endpoints"][0] |= near
    one["endpoints"][1] |= far
    api.put(one)
    api.put(node("node-1", addresses=("192.168.0.2",), zone="zone-b"))
    daemon.wait_for_rule("goto cluster-1")
    assert "10.1.0.2 . 8080" in daemon.rules()
    api.put(node("node-1", addresses=("192.168.0.2",), zone="zone-a"))
    daemon.wait_for_rule("10.1.0.1 . 8080")
    daemon.wait_for_no_rule("10.1.0.2 . 8080")


def test_the_start_is_an_event_of_the_node(api: ApiServer, daemon: ClusterDaemon) -> None:
    daemon.wait_for(lambda: bool(api.objects("events")), "event")
    (event,) = api.objects("events")
    assert event["reason"] == "Starting"
    assert event["regarding"]["kind"] == "Node"
    assert event["regarding"]["name"] == "node-1"
    assert event["reportingController"] == "kube-proxy"


def test_it_asks_for_nothing_that_the_manifest_does_not_allow(
    api: ApiServer, daemon: ClusterDaemon
) -> None:
    daemon.wait_for(lambda: bool(api.objects("events")), "event")
    api.cut("services")
    api.expire("services")
    daemon.wait_for(lambda: bool(daemon.says("listing again")), "another list")
    wanted = wishes.Wishes("registry.example/netproxy", wishes.ApiServer("192.0.2.1", 6443))
    manifest = yaml.safe_load_all(render_manifest(plan_manifest(wanted)))
    role = next(each for each in manifest if each["kind"] == "ClusterRole")
    asked = {needed(each.method, each.path, urlencode(each.query)) for each in api.requests}
    assert asked <= granted(role)
    assert len(asked) >= 5


def test_a_node_without_pod_networks_is_waited_for(
    netns: NetworkNamespace, api: ApiServer, tmp_path: Path
) -> None:
    flags = ("--master", api.url, "--detect-local-mode", "NodeCIDR")
    one = ClusterDaemon(netns, tmp_path, *flags)
    try:
        one.wait_for(lambda: api.watchers("services") > 0, "watch")
        assert "10.96.0.10" not in one.rules()
        api.put(node("node-1", addresses=("192.168.0.2",), pod_cidrs=("10.1.0.0/24",)))
        one.wait_for_rule("10.96.0.10")
        assert "ip saddr != 10.1.0.0/24" in one.rules()
    finally:
        one.end()


def test_a_configuration_that_changes_is_taken_without_a_restart(
    netns: NetworkNamespace, api: ApiServer, tmp_path: Path
) -> None:
    """As a ConfigMap changes; kube-proxy would not notice, or would end."""
    path = tmp_path / "config.conf"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        f"clusters: [{{name: c, cluster: {{server: '{api.url}'}}}}]\n"
        "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
    )
    reach = f"clientConnection: {{kubeconfig: {kubeconfig}}}\n"
    path.write_text(f"{HEAD}{reach}mode: nftables\nnftables: {{masqueradeBit: 14}}\n")
    one = ClusterDaemon(netns, tmp_path, "--config", str(path), "--cluster-cidr", "10.0.0.0/8")
    try:
        one.wait_for_rule("10.96.0.10 . tcp . 80 : goto cluster-2")
        (ignored,) = one.says("flag ignored")
        assert ignored["flag"] == "--cluster-cidr"
        assert "0x00004000" in one.rules()
        path.write_text(f"{HEAD}{reach}nftables: {{masqueradeBit: 99}}\n")
        one.wait_for(lambda: bool(one.says("configuration not read")), "mistake named")
        assert "masqueradeBit" in str(one.says("configuration not read")[0]["error"])
        path.write_text(f"{HEAD}{reach}mode: nftables\nnftables: {{masqueradeBit: 5}}\n")
        one.wait_for_rule("0x00000020")
        one.wait_for_no_rule("0x00004000")
        assert "10.96.0.10 . tcp . 80 : goto cluster-2" in one.rules()
        path.write_text(f"{HEAD}{reach}mode: iptables\n")
        one.wait_for(lambda: len(one.says("in charge")) > 2, "the other mode")
        assert "netproxy" not in one.rules()
        assert "10.96.0.10/32" in netns.run("iptables-save", "-t", "nat") + netns.run(
            "iptables-legacy-save", "-t", "nat"
        )
        path.write_text(f"{HEAD}{reach}mode: nftables\n")
        one.wait_for_rule("10.96.0.10 . tcp . 80 : goto cluster-2")
        assert len(one.says("starting")) == 1
    finally:
        one.end()


class FiledDaemon(ClusterDaemon):
    """One that is told by its file alone how to log."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "netproxy", "run", *self.flags]


def test_the_log_follows_its_configuration(netns: NetworkNamespace, tmp_path: Path) -> None:
    path = tmp_path / "config.conf"
    (tmp_path / "manifests").mkdir()
    head = f"{HEAD}mode: nftables\nhostnameOverride: node-1\n"
    path.write_text(f"{head}clusterCidr: 10.0.0.0/8\nlogging: {{format: json, verbosity: 1}}\n")
    one = FiledDaemon(
        *(netns, tmp_path, "--config", str(path), "-f", str(tmp_path / "manifests")),
        *("--masquerade-all", "--log-flush-frequency", "1s"),
    )
    try:
        one.wait_for(lambda: "service-ips" in one.rules(), "first sync")
        warned = [(each["event"], each.get("flag", each.get("field"))) for each in one.events()]
        assert [each for each in warned if each[0] in ("configuration", "flag ignored")] == [
            ("flag ignored", "--masquerade-all"),
            ("configuration", "clusterCidr"),
        ]
        assert ("flag without effect", "--log-flush-frequency") in warned
        assert not one.says("starting"), "which is of level 2"
        path.write_text(f"{head}logging: {{format: json, verbosity: 2}}\n")
        one.wait_for(lambda: bool(one.says("configuration changed")), "level 2")
        path.write_text(f"{head}logging: {{format: json, verbosity: 2}}\nbindAddres: '::'\n")
        one.wait_for(lambda: bool(one.says("configuration")[1:]), "a field that there is not")
        assert one.says("configuration")[1]["field"] == "bindAddres"
        assert len(one.says("configuration changed")) == 1, "it means the same"
    finally:
        one.end()


def run(space: NetworkNamespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netproxy", "run", *arguments]
    return space.call(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    )


def test_the_configuration_in_effect_is_written(netns: NetworkNamespace, tmp_path: Path) -> None:
    written = tmp_path / "written.yaml"
    first = run(netns, "--cluster-cidr", "10.4.0.0/14", "--write-config-to", str(written))
    assert (first.returncode, first.stdout) == (0, "")
    assert "clusterCIDR: 10.4.0.0/14" in written.read_text()
    again = tmp_path / "again.yaml"
    run(netns, "--config", str(written), "--write-config-to", str(again))
    assert again.read_text() == written.read_text()


def test_the_host_alone_is_prepared(netns: NetworkNamespace) -> None:
    done = run(netns, "--init-only", "--conntrack-tcp-timeout-close-wait", "45m")
    assert done.returncode == 0, done.stderr
    timeout = netns.run("sysctl", "-n", "net.netfilter.nf_conntrack_tcp_timeout_close_wait")
    assert timeout.strip() == "2700"
    assert "netproxy" not in netns.run("nft", "list", "ruleset")


def test_all_is_cleaned_up_as_kube_proxy_spells_it(
    netns: NetworkNamespace, daemon: ClusterDaemon
) -> None:
    assert daemon.stop() == 0
    netns.run("nft", "add", "table", "ip", "kube-proxy")
    netns.run("nft", "add", "table", "ip", "somebodys")
    assert run(netns, "--cleanup").returncode == 0
    assert netns.run("nft", "list", "tables") == "table ip somebodys\n"


def test_what_is_asked_and_how_long_changes_take_is_counted(
    api: ApiServer, daemon: ClusterDaemon
) -> None:
    def figures() -> str:
        return daemon.space.run("curl", "-sS", "http://127.0.0.1:10249/metrics")

    name = "kubeproxy_network_programming_duration_seconds"
    assert name + "_count" not in figures(), "what was there at the start took its time elsewhere"
    changed = endpoint_slice("web", ["10.1.0.7"])
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 100))
    changed["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": when}
    api.put(changed)
    daemon.wait_for(lambda: f'{name}_count{{ip_family="IPv4"}} 1.0' in figures(), "one change")
    text = figures()
    assert f'{name}_bucket{{ip_family="IPv4",le="95"}} 0.0' in text
    assert f'{name}_bucket{{ip_family="IPv4",le="300"}} 1.0' in text
    assert f'{name}_count{{ip_family="IPv6"}}' not in text
    host = api.url.removeprefix("http://")
    assert f'rest_client_requests_total{{code="200",host="{host}",method="GET"}}' in text
    assert "netproxy_api_events_dropped_total 0.0" in text


def test_an_address_that_is_taken_is_an_event_of_the_node(
    netns: NetworkNamespace, api: ApiServer, tmp_path: Path
) -> None:
    with netns.call(lambda: socket.create_server(("127.0.0.1", 10249))):
        daemon = ClusterDaemon(netns, tmp_path, "--master", api.url)
        try:
            daemon.wait_for(lambda: len(api.objects("events")) == 2, "two events")
        finally:
            daemon.end()
    (event,) = [each for each in api.objects("events") if each["type"] == "Warning"]
    assert event["reason"] == "FailedToStartMetricServer"
    assert event["regarding"]["kind"] == "Node"
    assert event["note"] == "127.0.0.1:10249: Address already in use"
