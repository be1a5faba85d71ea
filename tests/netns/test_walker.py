"""The walker through iptables rules says of any packet what the kernel does with it.

Asked about kube-proxy's rules, and about all packets that can be made of the addresses and ports
that occur in a scenario: most of them are for nobody, or come from where nobody expects them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from netproxy.core.packet import Packet
from netproxy.ipt.text import read_tables
from netproxy.model.ip import IPAddress
from netproxy.trace.iptables import journeys
from tests.netns.flows import Flow, Scenario, deviation_of, read_scenarios
from tests.netns.packets import FENCE
from tests.netns.test_player import RULES, read_rules

SCENARIOS = {each.id: each for each in read_scenarios("iptables")}
POLICIES = ("ACCEPT", "DROP")


def addresses_of_node(scenario: Scenario) -> list[IPAddress]:
    """In IPv4, as all recordings are."""
    words = {"127.0.0.1", *scenario.config["localIPs"]}
    return [IPAddress(each) for each in sorted(words) if ":" not in each]


def packets(scenario: Scenario) -> Iterator[Packet]:
    """Everybody to everything."""
    flows = [flow.packet for flow in scenario.flows]
    local = set(addresses_of_node(scenario))
    outside = {p.source for p in flows if p.interface} - local
    outside |= {a.address for flow in scenario.flows for a in flow.expected.arrivals}
    targets = {p.destination for p in flows} | outside | local
    services = sorted({(p.protocol, p.port) for p in flows} | {("TCP", 9), ("UDP", 80)})
    for (protocol, port), target in itertools.product(services, sorted(targets)):
        is_loopback = target.startswith("127.")
        for source in sorted(outside if not is_loopback else ()):
            yield Packet(source, target, protocol, port, "eth0")
        for source in sorted(local):
            if source.startswith("127.") == is_loopback:
                yield Packet(source, target, protocol, port)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("path", sorted(RULES.glob("iptables-*.txt")), ids=lambda p: p.stem)
def test_the_walker_agrees_with_the_kernel(path: Path, variant: str, policy: str) -> None:
    scenario_id, text = read_rules(path)
    scenario = SCENARIOS[scenario_id]
    assert text.index("*filter") < text.index(":FORWARD") < text.index("*mangle")
    text = text.replace(":FORWARD ACCEPT", f":FORWARD {policy}", 1)
    tables = read_tables(text)
    local = addresses_of_node(scenario)
    asked = list(packets(scenario))
    with scenario.stage() as stage:
        stage.node.run(f"iptables-{variant}-restore", "-w", stdin=text)
        stage.node.run(f"iptables-{variant}", "-I", "FORWARD", "-p", str(FENCE), "-j", "ACCEPT")
        seen = stage.play(asked)
        wrong = [
            f"{packet}: {fate}"
            for packet, fate in zip(asked, seen, strict=True)
            if not any(
                deviation_of(stage, Flow("", packet, way.fate), way.fate, fate) is None
                for way in journeys(packet, tables, local)
            )
        ]
    assert not wrong, "\n".join(wrong)
    assert {flow.expected.kind for flow in scenario.flows} <= {fate.kind for fate in seen}
