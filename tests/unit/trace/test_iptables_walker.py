"""The walker through iptables rules, held against real kube-proxy's rules and packet facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from netproxy.core.packet import Packet
from netproxy.ipt.text import read_tables
from netproxy.model.ip import IPAddress
from netproxy.trace.iptables import journeys, rules_passed, trace
from tests.netns.flows import Scenario, read_scenarios

RULES = sorted((Path(__file__).parents[2] / "data" / "rules").glob("iptables-*.txt"))
SCENARIOS = {scenario.id: scenario for scenario in read_scenarios("iptables")}
CLIENT = IPAddress("203.0.113.2")


def rules(text: str) -> str:
    built_in = ":PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
    return f"*nat\n{built_in}:A - [0:0]\n:B - [0:0]\n{text}COMMIT\n"


def packet(port: int = 80) -> Packet:
    return Packet(CLIENT, IPAddress("10.96.0.1"), "TCP", port, "eth0")


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_packets_through_kube_proxys_rules_fare_as_they_really_did(path: Path) -> None:
    text = path.read_text()
    scenario: Scenario = SCENARIOS[text.split()[2]]
    tables = read_tables(text)
    local = [IPAddress(address) for address in ("127.0.0.1", *scenario.config["localIPs"])]
    for flow in scenario.flows:
        assert trace(flow.packet, tables, local) == flow.expected, flow.name


@pytest.mark.parametrize(
    "rule",
    [
        "-A PREROUTING -m ttl --ttl-eq 3 -j DNAT --to-destination 10.0.0.1:80",
        "-A PREROUTING -j TPROXY",
        "-A PREROUTING -m conntrack --ctstate UNTRACKED -j DNAT --to-destination 10.0.0.1:80",
        "-A PREROUTING -m addrtype --dst-type BROADCAST -j DNAT --to-destination 10.0.0.1:80",
        "-A PREROUTING -m recent ! --rcheck --name A -j DNAT --to-destination 10.0.0.1:80",
        "-A PREROUTING -g A",
        "-A PREROUTING -p tcp -f",
    ],
)
def test_unknown_words_are_errors(rule: str) -> None:
    with pytest.raises(ValueError, match="not known"):
        trace(packet(), read_tables(rules(rule + "\n")), [])


def test_unequal_chances_are_an_error() -> None:
    text = (
        "-A PREROUTING -m statistic --mode random --probability 0.3 -j A\n-A PREROUTING -j B\n"
        "-A A -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80\n"
        "-A B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80\n"
    )
    with pytest.raises(ValueError, match="equal chance"):
        trace(packet(), read_tables(rules(text)), [])


def test_circles_are_an_error() -> None:
    text = "-A PREROUTING -j A\n-A A -j B\n-A B -j A\n"
    with pytest.raises(ValueError, match="circles"):
        trace(packet(), read_tables(rules(text)), [])


def test_a_chain_that_takes_nobody_is_returned_from() -> None:
    text = (
        "-A PREROUTING -j A\n"
        "-A PREROUTING -p tcp -m tcp --dport 80:90 -j DNAT --to-destination 10.0.0.2:81\n"
        "-A A -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.0.0.1:443\n"
        "-A A -j RETURN\n-A A -j DNAT --to-destination 10.0.0.9:9\n"
    )
    tables = read_tables(rules(text))
    assert str(trace(packet(), tables, [])) == "10.0.0.2:81"
    assert str(trace(packet(91), tables, [])) == "accept"
    assert str(trace(packet(443), tables, [])) == "10.0.0.1:443"


def test_whom_recent_remembers_goes_where_it_went() -> None:
    text = (
        "-A PREROUTING -m recent --rcheck --seconds 10 --reap --name A --mask 255.255.255.255 "
        "--rsource -j A\n"
        "-A PREROUTING -m statistic --mode random --probability 0.50000000000 -j A\n"
        "-A PREROUTING -j B\n"
        "-A A -p tcp -m recent --set --name A --mask 255.255.255.255 --rsource -m tcp -j DNAT "
        "--to-destination 10.0.0.1:80\n"
        "-A B -p tcp -m tcp -j DNAT --to-destination 10.0.0.2:80\n"
    )
    tables = read_tables(rules(text))
    first = {str(j.fate): j.memory for j in journeys(packet(), tables, [])}
    assert first == {"10.0.0.1:80": {"A": frozenset({CLIENT})}, "10.0.0.2:80": {}}
    assert str(trace(packet(), tables, [], first["10.0.0.1:80"])) == "10.0.0.1:80"
    other = packet()._replace(source=IPAddress("203.0.113.3"))
    assert str(trace(other, tables, [], first["10.0.0.1:80"])) == "10.0.0.1:80, 10.0.0.2:80"


def test_a_policy_is_for_those_whom_no_rule_took() -> None:
    text = (
        "*filter\n:FORWARD DROP [0:0]\n:A - [0:0]\n"
        "-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT\n-A FORWARD -j A\n"
        "-A A -p tcp -m tcp --dport 81 -j RETURN\n-A A -p tcp -m tcp --dport 82 -j ACCEPT\n"
        "-A FORWARD -p tcp -m tcp --dport 83 -j RETURN\n"
        "-A FORWARD -p tcp -m tcp --dport 83 -j ACCEPT\nCOMMIT\n"
    )
    tables = read_tables(text)
    fates = [str(trace(packet(port), tables, [])) for port in range(80, 85)]
    assert fates == ["accept", "drop", "accept", "drop", "drop"]


def test_every_rule_that_is_looked_at_is_counted() -> None:
    text = (
        "-A PREROUTING -p udp -j A\n-A PREROUTING -p tcp -j A\n-A PREROUTING -j B\n"
        "-A A -m statistic --mode random --probability 0.5 -j RETURN\n-A A -j B\n"
        "-A B -p udp -j RETURN\n"
    )
    tables = read_tables(rules(text))
    counts = sorted(journey.rules for journey in journeys(packet(), tables, []))
    assert counts == [5, 7]
    assert rules_passed(packet(), tables, []) == 7


def test_a_thousand_choices_are_not_too_many() -> None:
    lines = [
        f"-A A -m statistic --mode random --probability {1 / left:.11f} -j B\n"
        for left in range(3000, 1, -1)
    ]
    lines += ["-A A -j B\n", "-A B -p tcp -m tcp -j DNAT --to-destination 10.0.0.1:80\n"]
    text = "".join(["-A PREROUTING -j A\n", *lines])
    assert rules_passed(packet(), read_tables(rules(text)), []) == 1 + 3000 + 1
