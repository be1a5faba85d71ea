"""Whatever Services do: stale connections are forgotten, and no others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netproxy.core.conntrack import FlowBook, Place, Servers
from netproxy.model.ip import Family, IPAddress, pack_address
from netproxy.model.names import ServiceKey

NODE_IP = IPAddress("192.168.0.2")
NODE, PASSED_BY = pack_address(NODE_IP), b"\xcb\0\x71\1"
SERVICES = [ServiceKey("ns", name) for name in "abc"]
VIP, OTHER_VIP, NODE_PORT = (b"\n\x60\0\1", 53), (b"\n\x60\0\2", 53), (b"", 30053)
OWN_ADDRESS = (NODE, 30053)
"""An external IP that is the node's, with the number of the NodePort."""
FRONTENDS = [VIP, OTHER_VIP, NODE_PORT, OWN_ADDRESS]
PODS = [(bytes([10, 0, 0, n]), 53) for n in (1, 2, 3)]

World = dict[Place, tuple[ServiceKey, Servers]]
Flow = tuple[Place, Place]
"""Where the client sends to, and from where it is answered."""

worlds: st.SearchStrategy[World] = st.dictionaries(
    st.sampled_from(FRONTENDS),
    st.tuples(st.sampled_from(SERVICES), st.frozensets(st.sampled_from(PODS))),
)
steps = st.lists(
    st.tuples(worlds, st.permutations(SERVICES), st.booleans(), st.booleans()), max_size=6
)


def answering(world: World, destination: Place) -> Servers | None:
    """Who answers there by the rules; None: no frontend, and so nobody's business."""
    for place in (destination, (b"", destination[1])):
        is_mine = place == destination or destination[0] == NODE
        if is_mine and place in world:
            return world[place][1]
    return None


def connections(world: World) -> set[Flow]:
    """All that clients can make: translated, or answered by the destination itself.

    None where a frontend has no endpoints: rules refuse before the kernel remembers anything.
    """
    flows: set[Flow] = set()
    for destination in (VIP, OTHER_VIP, OWN_ADDRESS, (PASSED_BY, 30053)):
        served = answering(world, destination)
        flows |= {(destination, each) for each in ([destination] if served is None else served)}
    return flows


def tell(book: FlowBook, world: World, order: list[ServiceKey]) -> None:
    for key in order:
        book.note(key, {p: servers for p, (owner, servers) in world.items() if owner == key})


@given(steps)
def test_stale_connections_go_and_no_others(
    steps: list[tuple[World, list[ServiceKey], bool, bool]],
) -> None:
    book = FlowBook(Family.IPV4)
    flows = connections({})
    known: set[Place] = set()
    for world, order, can_sweep, works in steps:
        tell(book, world, order)
        known |= world.keys()
        sweep = book.take([NODE_IP]) if can_sweep else None
        if sweep is not None and not works:
            book.put_back(sweep)
            sweep = None
        if sweep is not None:
            gone = {flow for flow in flows if sweep.condemns(*flow)}
            flows -= gone
            for destination, server in gone:
                served = answering(world, destination)
                assert served is None or server not in served, "it was served still"
                assert destination[0] != PASSED_BY, "it only passed by"
        flows |= connections(world)
    nothing_is_left(book, flows, steps[-1][0] if steps else {}, known)


def nothing_is_left(book: FlowBook, flows: set[Flow], world: World, known: set[Place]) -> None:
    """After one more sweep nothing is left that leads astray."""
    sweep = book.take([NODE_IP])
    left = {flow for flow in flows if sweep is None or not sweep.condemns(*flow)}
    for destination, server in left:
        served = answering(world, destination)
        has_been = destination in known or (destination[0] == NODE and NODE_PORT in known)
        if served is not None:
            assert server in served
        elif has_been:
            assert server == destination, "of a Service that is gone"
    assert book.take([NODE_IP]) is None


@given(steps)
def test_nothing_is_looked_for_when_nothing_changes(
    steps: list[tuple[World, list[ServiceKey], bool, bool]],
) -> None:
    book = FlowBook(Family.IPV4)
    for world, order, _, _ in steps:
        tell(book, world, order)
        book.take([NODE_IP])
        tell(book, world, order[::-1])
        assert book.take([NODE_IP]) is None
