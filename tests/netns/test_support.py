"""What a host can do is found out before anything is written; what it is asked for stays in its
network namespace.

A kernel that lacks something is this kernel, asked for something that it lacks.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netproxy.backends.nftables.probe import rehearsal
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.errors import UnsupportedError
from netproxy.kernel.host import Wishes, prepare_host
from netproxy.kernel.nfnetlink import NfnetlinkSocket
from netproxy.kernel.nftables import open_netlink
from netproxy.model.ip import Family, IPAddress
from netproxy.nft import wire
from netproxy.nft.expr import Rule
from netproxy.nft.lower import Expression, lower_rule
from netproxy.support import find_support
from tests.netns.confined import Confinement
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.test_rights import attempt
from tests.netns.test_run import manifest

NFTABLES = ProxyConfig("node-1")
LEGACY = NFTABLES._replace(mode=ProxyMode.IPTABLES, iptables_variant="legacy")
SIZE = "net/netfilter/nf_conntrack_max"
BUCKETS = "net/netfilter/nf_conntrack_buckets"
CLOSE_WAIT = "net/netfilter/nf_conntrack_tcp_timeout_close_wait"

Lack = Callable[..., None]


@pytest.fixture
def lack(monkeypatch: pytest.MonkeyPatch) -> Lack:
    """Rules ask for expressions of other names, which no kernel has."""

    def lack(*lost: str, families: tuple[Family, ...] = tuple(Family)) -> None:
        def lower(rule: Rule, family: Family) -> tuple[Expression, ...]:
            return tuple(
                each._replace(name=f"no-{each.name}")
                if each.name in lost and family in families
                else each
                for each in lower_rule(rule, family)
            )

        monkeypatch.setattr(wire, "lower_rule", lower)

    return lack


@pytest.mark.parametrize("config", [NFTABLES, LEGACY], ids=["nftables", "iptables"])
def test_this_kernel_can(config: ProxyConfig, netns: NetworkNamespace) -> None:
    support = netns.call(lambda: find_support(config))
    assert support.families == (Family.IPV4, Family.IPV6)
    assert support.left_out == {}


def test_a_rehearsal_leaves_no_trace(netns: NetworkNamespace) -> None:
    netns.run("nft", "add table ip netproxy-probe { chain a { counter; }; }")
    before = netns.run("nft", "list", "ruleset")

    def rehearse() -> int:
        with open_netlink() as netlink:
            generation = netlink.generation()
            for family in Family:
                assert netlink.rehearse(rehearsal(family)) == {}
            return netlink.generation() - generation

    assert netns.call(rehearse) == 0, "nobody hears of it"
    assert netns.run("nft", "list", "ruleset") == before


@pytest.mark.parametrize("name", ["numgen", "nat", "masq", "fib", "ct", "reject"])
def test_an_expression_that_the_kernel_lacks_is_named(
    name: str, netns: NetworkNamespace, lack: Lack
) -> None:
    lack(name)
    with pytest.raises(UnsupportedError, match=f"expression {name} ") as caught:
        netns.call(lambda: find_support(NFTABLES))
    assert f"CONFIG_NFT_{name.upper()}" in caught.value.message
    assert caught.value.exit_code == 4
    assert "modprobe" in (caught.value.hint or "")
    assert netns.run("nft", "list", "ruleset") == ""


def test_one_family_is_enough(netns: NetworkNamespace, lack: Lack) -> None:
    lack("fib", families=(Family.IPV6,))
    support = netns.call(lambda: find_support(NFTABLES))
    assert support.families == (Family.IPV4,)
    assert "nft_fib_ipv6" in support.left_out[Family.IPV6]


def test_but_not_when_the_node_is_known_by_the_other(netns: NetworkNamespace, lack: Lack) -> None:
    lack("fib", families=(Family.IPV6,))
    known_by = (IPAddress("2001:db8::1"), IPAddress("192.0.2.1"))
    with pytest.raises(UnsupportedError, match="IPv6: the kernel's nf_tables lacks") as caught:
        netns.call(lambda: find_support(NFTABLES._replace(node_ips=known_by)))
    assert "IPv4" not in caught.value.message


def test_ipv6_that_is_switched_off(netns: NetworkNamespace, tmp_path: Path) -> None:
    netns.write_sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    (tmp_path / "services").mkdir()
    (tmp_path / "services/web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1"))
    daemon = Daemon(netns, tmp_path / "services", tmp_path / "log")
    try:
        daemon.wait_for(lambda: "10.96.0.1" in daemon.rules(), "rules")
        (said,) = [event for event in daemon.events() if event["event"] == "family left out"]
        assert said["family"] == "IPv6"
        assert "net.ipv6.conf.all.disable_ipv6=1" in str(said["reason"])
        assert daemon.stop() == 0
        assert "table ip6" not in daemon.rules()
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_ipv6_alone_that_is_switched_off(netns: NetworkNamespace) -> None:
    netns.write_sysctl("net.ipv6.conf.all.disable_ipv6", "1")
    with pytest.raises(UnsupportedError, match="nftables mode does not work here: IPv6: switched"):
        netns.call(lambda: find_support(NFTABLES._replace(families=(Family.IPV6,))))


def program_that_fails(place: Path, name: str, words: str) -> None:
    program = place / name
    program.write_text(f"#!/bin/sh\necho {shlex.quote(words)} >&2\nexit 3\n")
    program.chmod(0o755)


NO_TABLE = "ip6tables v1.8.9 (legacy): can't initialize ip6tables table `nat': Table does not exist"


def test_no_table_nat_in_one_family(
    netns: NetworkNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_that_fails(tmp_path, "ip6tables-legacy", NO_TABLE)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    support = netns.call(lambda: find_support(LEGACY))
    assert support.families == (Family.IPV4,)
    assert "Table does not exist" in support.left_out[Family.IPV6]


def test_no_table_nat_at_all(
    netns: NetworkNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("iptables-legacy", "ip6tables-legacy"):
        program_that_fails(tmp_path, name, "Table does not exist (do you need to insmod?)")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UnsupportedError, match=r"does not work here: IPv4: .*; IPv6: "):
        netns.call(lambda: find_support(LEGACY))


def test_a_batch_that_is_not_looked_at(netns: NetworkNamespace) -> None:
    """Not the same as refused operations."""
    from netproxy.errors import DataplaneError
    from netproxy.nft.transaction import Transaction

    def rehearse() -> None:
        with NfnetlinkSocket() as netlink:
            netlink._socket.close()
            netlink.rehearse(Transaction(Family.IPV4, "a", []))

    with pytest.raises(DataplaneError, match="commit a batch"):
        netns.call(rehearse)


def test_settings_stay_in_the_namespace(netns: NetworkNamespace) -> None:
    def read(name: str) -> str:
        return Path("/proc/sys", name).read_text().strip()

    wishes = Wishes(0, 0, 1111, 2222, tcp_be_liberal=True, udp_s=33, udp_stream_s=44)
    names = ["tcp_timeout_established", "tcp_timeout_close_wait", "tcp_be_liberal"]
    names += ["udp_timeout", "udp_timeout_stream"]
    paths = [f"net/netfilter/nf_conntrack_{name}" for name in names]
    paths.append("net/ipv4/conf/all/route_localnet")
    outside = [read(path) for path in paths]
    report = netns.call(lambda: prepare_host(wishes._replace(route_localnet=True)))
    assert report.troubles == []
    assert len(report.done) == len(paths)
    inside = netns.call(lambda: [read(path) for path in paths])
    assert inside == ["1111", "2222", "1", "33", "44", "1"]
    assert [read(path) for path in paths] == outside
    again = netns.call(lambda: prepare_host(wishes._replace(route_localnet=True)))
    assert again == ([], [])


def test_settings_that_only_the_host_has(netns: NetworkNamespace, tmp_path: Path) -> None:
    """Where they cannot be written: one line each, with what to run, and it goes on."""
    line = [sys.executable, "-m", "netproxy", "run", "-f", str(tmp_path), "--init-only"]
    line += ["--conntrack-min=2000000", "--conntrack-tcp-timeout-established=0"]
    expected = [f"sysctl -w {CLOSE_WAIT.replace('/', '.')}=3600"]
    if int(Path("/proc/sys", SIZE).read_text()) < 1_048_576:
        expected.insert(0, f"sysctl -w {SIZE.replace('/', '.')}=1048576")
    if int(Path("/proc/sys", BUCKETS).read_text()) < 262_144:
        expected.insert(1, "echo 262144 > /sys/module/nf_conntrack/parameters/hashsize")
    confined = Confinement(["NET_ADMIN"])  # nor can it be written by mistake
    code, said = attempt(netns, confined.wrap(*line))
    assert code == 0, said
    lines = said.splitlines()
    assert len(lines) == len(expected), said
    for one, remedy in zip(lines, expected, strict=True):
        assert 'level=warning event="cannot prepare host"' in one
        assert f'hint="on the host: {remedy}"' in one
    code, said = attempt(netns, confined.wrap(*line, "--require-sysctls"))
    assert code == 4
    assert f"hint: on the host: {expected[0]}" in said
