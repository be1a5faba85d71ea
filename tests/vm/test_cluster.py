"""Two nodes that forward to each other, a client outside: by real kernels, cards and cables."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from netproxy.model.ip import Family
from tests.patience import patience
from tests.vm.asking import ask, ask_from_pod, ask_often, bracket, is_answered, pods_of
from tests.vm.cluster import (
    ALLOWED,
    EMPTY,
    FORBIDDEN,
    HEALTH_PORT,
    LOCAL,
    STICKY,
    WEB,
    balancer_ip,
    cluster_ip,
    pod_address,
)
from tests.vm.machines import CLIENT, NODES

pytestmark = pytest.mark.usefixtures("mode")


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_a_node_port_leads_to_pods_on_both_nodes(protocol: str, family: Family) -> None:
    """The other node's pod sees the node that forwarded, for answers must come back that way."""
    first = NODES[0].address(family)
    answers = ask_often(first, 30000 + WEB, protocol=protocol)
    assert pods_of(answers) == {"node1-a", "node2-a"}
    assert {a.asked_by for a in answers if a.pod == "node2-a"} == {first}


def test_each_node_serves_the_same(family: Family) -> None:
    for node in NODES:
        answers = ask_often(node.address(family), 30000 + WEB)
        assert pods_of(answers) == {"node1-a", "node2-a"}


def test_a_balancers_address_is_served(family: Family) -> None:
    assert pods_of(ask_often(balancer_ip(WEB, family), 80)) == {"node1-a", "node2-a"}


def test_a_cluster_ip_is_served_to_who_comes_from_outside(family: Family) -> None:
    assert pods_of(ask_often(cluster_ip(WEB, family), 80)) == {"node1-a", "node2-a"}


def test_pods_are_seen_with_their_own_address(family: Family) -> None:
    answers = ask_from_pod(NODES[0], "node1-b", cluster_ip(WEB, family), 80)
    assert pods_of(answers) == {"node1-a", "node2-a"}
    assert {answer.asked_by for answer in answers} == {pod_address("node1-b", family)}


def test_a_pod_reaches_itself(family: Family) -> None:
    answers = ask_from_pod(NODES[0], "node1-a", cluster_ip(WEB, family), 80)
    assert pods_of(answers) == {"node1-a", "node2-a"}


def test_a_node_itself_reaches_a_cluster_ip(family: Family) -> None:
    script = f"exec 3<>/dev/tcp/{cluster_ip(WEB, family)}/80; cat <&3"
    said = NODES[1].run(f"for i in $(seq 16); do bash -c '{script}'; done")
    assert {line.split()[0] for line in said.splitlines()} == {"node1-a", "node2-a"}


def test_policy_local_keeps_the_clients_address(family: Family) -> None:
    answer = ask(NODES[1].address(family), 30000 + LOCAL)
    assert answer == ("node2-a", CLIENT[family])


def test_policy_local_drops_where_no_pod_is(family: Family) -> None:
    assert not is_answered(NODES[0].address(family), 30000 + LOCAL)


def test_load_balancers_are_told_where_the_pods_are(family: Family) -> None:
    codes = []
    for node in NODES:
        url = f"http://{bracket(node.address(family))}:{HEALTH_PORT}/"
        try:
            with urllib.request.urlopen(url, timeout=patience(5)) as answer:
                codes.append(answer.status)
        except urllib.error.HTTPError as error:
            codes.append(error.code)
    assert codes == [503, 200]


def test_a_client_stays_with_its_pod(family: Family) -> None:
    addresses = [(balancer_ip(STICKY, family), 80), (NODES[0].address(family), 30000 + STICKY)]
    answers = [ask(*addresses[i % 2]) for i in range(12)]
    assert len(pods_of(answers)) == 1


def test_source_ranges_let_in_and_keep_out(family: Family) -> None:
    assert ask(balancer_ip(ALLOWED, family), 80).pod == "node2-b"
    assert not is_answered(balancer_ip(FORBIDDEN, family), 80)


def test_a_service_without_pods_refuses(family: Family) -> None:
    with pytest.raises(ConnectionRefusedError):
        ask(NODES[0].address(family), 30000 + EMPTY)


def test_nothing_is_complained_about() -> None:
    """With the rights that the unit gives, on the real thing."""
    assert [node.complaints() for node in NODES] == [[], []]
