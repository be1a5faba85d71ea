"""When enough is known to program a node for the first time."""

from __future__ import annotations

import pytest

from netproxy.errors import UnsupportedError
from netproxy.model.events import Delete, Upsert
from netproxy.model.ip import IPAddress, parse_prefix
from netproxy.model.node import Node
from netproxy.sources.kubernetes.readiness import Gate, NodeWait, Readiness

OPEN, SHUT = Gate(is_open=True), Gate(is_open=False)
BARE = Node("node-a")
ADDRESSED = Node("node-a", addresses=(IPAddress("192.168.0.2"),))
COMPLETE = ADDRESSED._replace(pod_cidrs=(parse_prefix("10.1.0.0/24"),))


def look(readiness: Readiness, now: float, *, is_listed: bool = True) -> Gate:
    return readiness.look(now, is_listed=is_listed, is_node_listed=True)


def test_begins_once_all_is_listed_and_our_node_has_an_address() -> None:
    readiness = Readiness("node-a", NodeWait())
    readiness.see([Upsert(ADDRESSED)])
    assert look(readiness, 0.0, is_listed=False) == SHUT
    assert readiness.next_look(0.0) is None
    assert look(readiness, 500.0) == OPEN


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ([Upsert(BARE)], "its addresses"),
        ([Upsert(ADDRESSED), Delete(("Node", "", "node-a"))], "the Node itself"),
        ([], "the Node itself"),
    ],
)
def test_goes_without_addresses_after_half_a_minute(
    events: list[Upsert | Delete], missing: str
) -> None:
    readiness = Readiness("node-a", NodeWait())
    readiness.see(events)
    assert look(readiness, 100.0) == SHUT
    assert readiness.next_look(105.0) == 25.0
    assert look(readiness, 129.0) == SHUT
    assert look(readiness, 130.0) == Gate(is_open=True, missing=missing)


def test_goes_without_a_node_that_it_may_not_see() -> None:
    readiness = Readiness("node-a", NodeWait())
    readiness.look(0.0, is_listed=True, is_node_listed=False)
    gate = readiness.look(30.0, is_listed=True, is_node_listed=False)
    assert gate == Gate(is_open=True, missing="an answer")


def test_waits_longer_for_pod_networks_where_they_are_needed() -> None:
    readiness = Readiness("node-a", NodeWait(needs_pod_cidrs=True))
    readiness.see([Upsert(ADDRESSED)])
    assert look(readiness, 0.0) == SHUT
    assert readiness.next_look(0.0) == 30.0
    assert look(readiness, 299.0) == SHUT
    assert readiness.next_look(299.0) == 1.0
    readiness.see([Upsert(COMPLETE)])
    assert look(readiness, 299.5) == OPEN


def test_cannot_work_without_pod_networks_that_are_needed() -> None:
    readiness = Readiness("node-a", NodeWait(needs_pod_cidrs=True))
    readiness.see([Upsert(ADDRESSED)])
    look(readiness, 0.0)
    with pytest.raises(
        UnsupportedError, match="Node node-a got no podCIDRs within 300 s"
    ) as caught:
        look(readiness, 300.0)
    assert "--allocate-node-cidrs" in (caught.value.hint or "")
