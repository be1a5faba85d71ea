"""Long lists become trees in which a packet passes few rules, and finds what it did before."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.backends.iptables import names
from netproxy.backends.iptables.dispatch import LEAF, dispatch
from netproxy.model.ip import Family
from tests.bench import iptables

LONGEST_NAME = 28
"""Source: XT_EXTENSION_MAXNAMELEN, linux/netfilter/x_tables.h."""


def rule(address: str, port: int = 80) -> str:
    length = 128 if ":" in address else 32
    words = f'-m comment --comment "ns/svc:{port}" -m tcp --dport {port} -j TARGET'
    return f"-d {address}/{length} -p tcp {words}"


def node_port(port: int, protocol: str = "tcp") -> str:
    return f'-p {protocol} -m comment --comment "ns/svc" -m {protocol} --dport {port} -j TARGET'


def passed(chains: dict[str, str], chain: str, *, address: str = "", port: int = 0) -> list[str]:
    """All rules that a TCP packet with no taker is held against, in order."""
    seen = []
    for line in chains[chain].splitlines():
        seen.append(line)
        where = re.search(r" -d (\S+)", line)
        ports = re.search(r"-p tcp .*--dport (\d+):(\d+)", line)
        is_for_me = (
            ipaddress.ip_address(address) in ipaddress.ip_network(where[1])
            if where
            else ports is not None and int(ports[1]) <= port <= int(ports[2])
        )
        target = line.rpartition(" -j ")[2]
        if is_for_me and target in chains:
            seen += passed(chains, target, address=address, port=port)
    return seen


def test_a_short_list_stays_as_it_is() -> None:
    rules = [rule(f"10.96.0.{i}") for i in range(LEAF)]
    chains = dispatch("KUBE-SERVICES", reversed(rules), Family.IPV4, "KUBE-SVC-")
    lines = [f"-A KUBE-SERVICES {each}\n" for each in rules]
    assert chains == {"KUBE-SERVICES": "".join(lines)}


def test_ten_thousand_addresses_are_under_a_hundred_rules_away() -> None:
    addresses = [f"10.96.{i // 250}.{i % 250 + 1}" for i in range(10_000)]
    chains = dispatch("KUBE-SERVICES", map(rule, addresses), Family.IPV4, "KUBE-SVC-")
    worst = max(len(passed(chains, "KUBE-SERVICES", address=a)) for a in addresses[::7])
    assert worst <= 16 + 16 + 16 + LEAF
    assert len(passed(chains, "KUBE-SERVICES", address="192.0.2.1")) <= 16, "no service at all"


@pytest.mark.slow
def test_a_packet_passes_at_most_600_rules_among_ten_thousand_services() -> None:
    assert iptables.iptables_rules_passed(10_000)["rules"] <= 600


def test_node_ports_by_protocol() -> None:
    rules = [node_port(30_000 + i, p) for i in range(2768) for p in ("tcp", "udp")]
    chains = dispatch("KUBE-NODEPORTS", rules, Family.IPV4, "KUBE-SVC-")
    for port in (30_000, 31_111, 32_767):
        seen = passed(chains, "KUBE-NODEPORTS", port=port)
        assert any(node_port(port) in line for line in seen)
        assert len(seen) <= 16 * 4 + LEAF


def test_many_ports_of_one_address_stay_together() -> None:
    chains = dispatch(
        "KUBE-SERVICES",
        [rule("10.96.0.1", port) for port in range(1, 200)],
        Family.IPV4,
        "KUBE-SVC-",
    )
    assert len(chains) == 1, "an address cannot be divided"


@given(
    st.sampled_from(list(Family)),
    st.sets(st.integers(0, 2**32 - 1), max_size=300),
    st.integers(0, 60),
)
def test_every_rule_is_found_by_its_own_packet_and_once(
    family: Family, numbers: set[int], shift: int
) -> None:
    network = ipaddress.ip_network("fd00::/16" if family is Family.IPV6 else "0.0.0.0/0")
    numbers = {n << shift if family is Family.IPV6 else n for n in numbers}
    addresses = [str(network[number]) for number in numbers]
    chains = dispatch("KUBE-SERVICES", map(rule, addresses), family, "KUBE-SVC-")
    for address in addresses:
        seen = passed(chains, "KUBE-SERVICES", address=address)
        assert sum(rule(address) in line for line in seen) == 1
    assert "".join(chains.values()).count("-j TARGET") == len(addresses)
    for chain in chains:
        assert len(chain) <= LONGEST_NAME
        assert chain == "KUBE-SERVICES" or names.is_variable(chain)


def test_kube_proxy_takes_dispatch_chains_in_nat_for_leftovers_of_its_own() -> None:
    """Source: kube-proxy 1.36 deletes chains with these beginnings in nat, and only there."""
    of_kube_proxy = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")
    for (table, _), prefix in names.DISPATCH_PREFIXES.items():
        assert table != names.NAT or prefix in of_kube_proxy
