"""A node's proxy dies, its rules are taken away, its modules are not loaded: it comes back."""

from __future__ import annotations

import signal

import pytest

from netproxy.model.ip import Family
from tests.vm.asking import ask, ask_often, pods_of
from tests.vm.cluster import MODES, NETPROXY, WEB, deploy
from tests.vm.machines import NODES, Node

NODE = NODES[1]
PORT = 30000 + WEB
FLUSH = {
    "nftables": "nft flush ruleset",
    "iptables-nft": "nft flush ruleset",
    "iptables-legacy": "iptables-legacy -t nat -F; iptables-legacy -t filter -F",
}
# Modules that rules need and that nobody loaded for us; those of conntrack are in use by it.
MODULES = r"^(nft_|nf_tables|nf_nat|ip6?table|ip6?t_|xt_|x_tables|ip_tables|ip6_tables)"


def serves(node: Node) -> bool:
    """Whether connections of both families by way of this node find a pod."""
    try:
        for family in Family:
            ask(node.address(family), PORT, within_s=3.0)
    except OSError:
        return False
    return True


def test_rules_that_are_taken_away_come_back(mode: str) -> None:
    NODE.run(FLUSH[mode])
    NODE.wait_for(lambda: serves(NODE), "served again")
    answers = ask_often(NODE.address(Family.IPV6), PORT)
    assert pods_of(answers) == {"node1-a", "node2-a"}


def test_systemd_starts_it_again_and_nobody_notices(mode: str) -> None:
    before = main_process()
    NODE.run(f"kill -{signal.SIGKILL.value} {before}")
    for family in Family:
        ask_often(NODE.address(family), PORT)
    NODE.wait_for(lambda: main_process() not in ("0", before), "a successor")
    NODE.wait_for(lambda: NODE.succeeds("systemctl is-active --quiet netproxy"), "at work")
    assert NODE.complaints() == []


def main_process() -> str:
    return NODE.run("systemctl show --property=MainPID --value netproxy").strip()


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("name", list(MODES))
def test_the_kernel_loads_what_is_missing(name: str) -> None:
    """By what rules ask for: the unit takes the right to load modules away from us."""
    NODE.run(f"systemctl stop netproxy; {NETPROXY} cleanup; nft flush ruleset")
    unload_all()
    deploy(NODE, name)
    assert loaded()
    assert serves(NODE)
    assert NODE.complaints() == []


def unload_all() -> None:
    """Again and again, for modules use each other."""
    for _ in range(12):
        if not (names := loaded()):
            return
        NODE.run(f"modprobe --remove --quiet {' '.join(names)} || true")
        NODE.run(f"for one in {' '.join(names)}; do rmmod $one 2>/dev/null || true; done")
    users = NODE.run(r"lsmod | grep -E 'tables|iptable'; ps -e -o args | grep -E 'netproxy|tables'")
    raise AssertionError(f"still loaded: {loaded()}\n{users}")


def loaded() -> list[str]:
    """Modules of netfilter's rules, as far as they are not part of the kernel."""
    return NODE.run(f"cut -d' ' -f1 /proc/modules | grep -E '{MODULES}' || true").split()
