"""Nodes that start anew: netproxy comes back by itself, and its rules before the pods."""

from __future__ import annotations

import re

import pytest

from netproxy.model.ip import Family
from tests.vm.asking import ask_from_pod, ask_often, pods_of
from tests.vm.cluster import (
    LIST_RULES,
    RULES_BEFORE_PODS,
    WEB,
    cluster_ip,
    deploy,
    everywhere,
    withdraw,
)
from tests.vm.machines import NODES, Node

MODES = {1: "nftables", 2: "iptables-legacy"}


def rules(text: str) -> list[str]:
    """Lines without what counts, and in an order: that of sets and of tables is the kernel's."""
    text = re.sub(r"^#.*\n|\[\d+:\d+\]|packets \d+ bytes \d+", "", text, flags=re.MULTILINE)
    return sorted(re.split(r"[\n,]\s*", text))


@pytest.fixture(scope="module")
def before(nodes: None) -> dict[Node, str]:
    """The rules of each node before it starts anew; when a test begins it has done so."""
    everywhere(withdraw)
    everywhere(lambda node: deploy(node, MODES[node.number]))
    known = {node: node.run(LIST_RULES) for node in NODES}
    everywhere(Node.reboot)
    return known


def test_the_rules_are_what_they_were(before: dict[Node, str]) -> None:
    for node in NODES:
        assert rules(node.run(LIST_RULES)) == rules(before[node])


def test_the_rules_were_there_before_the_pods(before: dict[Node, str]) -> None:
    for node in NODES:
        assert rules(node.run(f"cat {RULES_BEFORE_PODS}")) == rules(before[node])


def test_the_service_came_up_at_once(before: dict[Node, str]) -> None:
    for node in NODES:
        assert node.run("systemctl show --property=NRestarts --value netproxy").strip() == "0"
        assert node.complaints() == []


@pytest.mark.parametrize("number", [1, 2])
def test_services_are_served_again(number: int, family: Family, before: dict[Node, str]) -> None:
    node = NODES[number - 1]
    both = {"node1-a", "node2-a"}
    assert pods_of(ask_often(node.address(family), 30000 + WEB)) == both
    asked = ask_from_pod(node, f"{node.name}-b", cluster_ip(WEB, family), 80)
    assert pods_of(asked) == both


def test_no_unit_failed(before: dict[Node, str]) -> None:
    failed = "systemctl list-units --failed --plain --no-legend"
    assert [node.run(failed) for node in NODES] == ["", ""]
