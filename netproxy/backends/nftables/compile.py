"""A plan → the elements that carry it out.

The only freedom is which endpoint stands at which index. ``place_targets`` uses it so that one
endpoint more or less changes O(1) elements, whatever the size of the service: whoever was there
keeps its index, and the last one fills a hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netproxy.backends.nftables import names
from netproxy.backends.nftables.affinity import NOBODY, SEATS, Seating, head, tail, take_seats
from netproxy.backends.nftables.names import ClassChain, ClassKind
from netproxy.backends.nftables.sources import source_elements
from netproxy.core.plan import Action, Frontend, FrontendKind, ServicePlan, Target
from netproxy.model.ip import Family, pack_address
from netproxy.model.names import ServicePortName
from netproxy.nft.elements import PACKED_PROTOCOLS, pack_index, pack_port
from netproxy.nft.expr import DROP, Verdict, goto
from netproxy.nft.objects import Data

_REJECT = goto(names.REJECT)


class Placed(NamedTuple):
    """A frontend in the maps of endpoints or of tickets."""

    map: str
    prefix: bytes
    """The packed frontend; an index follows it in each key."""
    is_local: bool
    """Shows ``local_targets``, from LOCAL_INDEX on, instead of ``targets``, from 0 on."""

    @property
    def first_index(self) -> int:
        return names.LOCAL_INDEX if self.is_local else 0


class Affinity(NamedTuple):
    """How a service port's endpoints are remembered; see ``affinity``."""

    number: int
    """The service port's, in its tickets."""
    seating: Seating
    """The endpoints' numbers in their tickets."""
    tickets: tuple[bytes, ...]
    """The tickets of ``targets``, in their order."""
    local_tickets: tuple[bytes, ...]
    elements: tuple[tuple[str, bytes, bytes], ...]
    """(map, key, endpoint): where tickets lead."""


class Fragment(NamedTuple):
    """All elements of one service port in one family."""

    owner: ServicePortName
    """For comments."""
    targets: tuple[bytes, ...]
    """Packed endpoints by index."""
    local_targets: tuple[bytes, ...]
    """The same for node-local ones; their index begins at LOCAL_INDEX."""
    placed: tuple[Placed, ...]
    elements: tuple[tuple[str, bytes, Verdict], ...]
    """(map, key, verdict): these keys are this service port's alone."""
    shared: tuple[tuple[str, bytes], ...]
    """(set, key): others may need the same element."""
    affinity: Affinity | None = None
    """None: nobody is remembered."""

    def chains(self) -> Iterable[str]:
        """The class chains that its verdicts lead to, with repetitions."""
        return (v.chain for _, _, v in self.elements if v.chain and v is not _REJECT)

    def exclusive(self) -> Iterable[tuple[str, bytes, Data]]:
        """(map, key, data) of everything that is this service port's alone, by key."""
        return (*self.elements, *self.affinity.elements) if self.affinity else self.elements

    def endpoint_elements(self, placed: Placed) -> Iterable[tuple[bytes, bytes]]:
        """(key, endpoint or ticket) of everything that one frontend shows."""
        shown = self.shown_by(placed)
        return zip(_keys(placed.prefix, placed.first_index, len(shown)), shown, strict=True)

    def shown_by(self, placed: Placed) -> tuple[bytes, ...]:
        """What stands under a frontend by index: endpoints, or their tickets."""
        if self.affinity is not None:
            return self.affinity.local_tickets if placed.is_local else self.affinity.tickets
        return self.targets_of(placed)

    def targets_of(self, placed: Placed) -> tuple[bytes, ...]:
        """The endpoints that a frontend leads to, by index."""
        return self.local_targets if placed.is_local else self.targets


_PACKED_INDEXES = {
    first: [pack_index(first + i) for i in range(64)] for first in (0, names.LOCAL_INDEX)
}
"""Nearly all services have fewer endpoints than this."""


def _keys(prefix: bytes, first: int, count: int) -> list[bytes]:
    packed = _PACKED_INDEXES[first]
    if count <= len(packed):
        return [prefix + index for index in packed[:count]]
    return [prefix + pack_index(first + i) for i in range(count)]


def place_targets(before: Sequence[bytes], wanted: Sequence[bytes]) -> tuple[bytes, ...]:
    """Give every wanted endpoint an index, moving as few as possible.

    Example:
        >>> place_targets((b"a", b"b", b"c", b"d"), (b"a", b"c", b"d"))
        (b'a', b'd', b'c')
    """
    if not before:
        return tuple(wanted)
    count = len(wanted)
    missing = set(wanted)
    placed: list[bytes | None] = [None] * count
    for index, target in enumerate(before[:count]):
        if target in missing:
            placed[index] = target
            missing.discard(target)
    if not missing:
        return tuple(t for t in placed if t is not None)
    # In the order of ``wanted``, so that the result depends on nothing else.
    rest = iter([target for target in wanted if target in missing])
    return tuple(target if target is not None else next(rest) for target in placed)


def can_remember(plan: ServicePlan) -> bool:
    """Whether clients of the service port are to be remembered, given a number for it."""
    return plan.affinity_timeout_s > 0 and 0 < len(plan.targets) + len(plan.local_targets) <= SEATS


def compile_plan(
    plan: ServicePlan,
    before: Fragment | None = None,
    number: int | None = None,
    *,
    counts: bool = False,
) -> Fragment:
    """All elements of a plan.

    Args:
        plan: What to do.
        before: What stands there now; its indexes are kept where possible.
        number: The service port's number in tickets; without one nobody is remembered.
        counts: Count connections.
    """
    targets = _pack(plan.targets)
    local_targets = _pack(plan.local_targets)
    placed: list[Placed] = []
    elements: list[tuple[str, bytes, Verdict]] = []
    shared: list[tuple[str, bytes]] = []
    suffix = PACKED_PROTOCOLS[plan.name.protocol]
    numbers = len(targets), len(local_targets)
    timeout_s = plan.affinity_timeout_s if number is not None else 0
    for_address, for_nodeport = (
        (names.ENDPOINTS, names.NODEPORT_ENDPOINTS)
        if number is None
        else (names.TICKETS, names.NODEPORT_TICKETS)
    )
    for frontend in plan.frontends:
        kind, address, port, _, is_local_only, has_short_circuit = frontend
        if kind is _NODE_PORT:
            prefix = suffix + pack_port(port)
        else:
            packed = pack_address(address)
            prefix = packed + suffix + pack_port(port)
            if kind is _CLUSTER_IP:
                shared.append((names.CLUSTER_IPS, packed))
        elements += _verdicts(frontend, prefix, *numbers, timeout_s)
        if counts:
            is_nodeport = kind is _NODE_PORT
            counter = names.NODEPORT_CONNECTIONS if is_nodeport else names.CONNECTIONS
            shared.append((counter, prefix))
        where = for_nodeport if kind is _NODE_PORT else for_address
        if targets and (not is_local_only or has_short_circuit):
            placed.append(Placed(where, prefix, is_local=False))
        if local_targets and is_local_only:
            placed.append(Placed(where, prefix, is_local=True))
    if plan.source_ranges:
        shared += source_elements(plan, suffix)
    local = [packed for packed, (_, _, here) in zip(targets, plan.targets, strict=True) if here]
    if local or local_targets:
        shared += _hairpins(dict.fromkeys((*local, *local_targets)), suffix)
    fragment = Fragment(
        plan.name,
        place_targets(before.targets if before else (), targets),
        place_targets(before.local_targets if before else (), local_targets),
        tuple(placed),
        tuple(elements),
        tuple(shared),
    )
    if number is None:
        return fragment
    had = before.affinity if before else None
    return with_tickets(fragment, number, had.seating if had else NOBODY, plan.family)


def with_tickets(fragment: Fragment, number: int, before: Seating, family: Family) -> Fragment:
    """The same with tickets of this number; endpoints keep their seats."""
    targets, local_targets = fragment.targets, fragment.local_targets
    everybody = dict.fromkeys((*targets, *local_targets)) if local_targets else targets
    seating = take_seats(before, everybody)
    seats = seating.seats
    first = head(number, family)
    tickets = tuple([first + tail(seats[endpoint], family) for endpoint in targets])
    local_tickets = tuple([first + tail(seats[endpoint], family) for endpoint in local_targets])
    suffix = PACKED_PROTOCOLS[fragment.owner.protocol]
    shown = {placed.is_local for placed in fragment.placed}
    elements: list[tuple[str, bytes, bytes]] = []
    if False in shown:
        where = names.TICKET_ENDPOINTS
        elements += [(where, t + suffix, e) for t, e in zip(tickets, targets, strict=True)]
    if True in shown:
        where = names.LOCAL_TICKET_ENDPOINTS
        pairs = zip(local_tickets, local_targets, strict=True)
        elements += [(where, t + suffix, e) for t, e in pairs]
    affinity = Affinity(number, seating, tickets, local_tickets, tuple(elements))
    return fragment._replace(affinity=affinity)


def _pack(targets: Iterable[Target]) -> list[bytes]:
    """Address and port as the value of an endpoints map."""
    ports = {port: pack_port(port) for _, port, _ in targets}
    return [pack_address(address) + ports[port] for address, port, _ in targets]


_NODE_PORT, _CLUSTER_IP = FrontendKind.NODE_PORT, FrontendKind.CLUSTER_IP
_FORWARD = Action.FORWARD


def _where(frontend: Frontend, for_address: str, for_nodeport: str) -> str:
    return for_nodeport if frontend.kind is _NODE_PORT else for_address


_CLASS_KINDS = {
    # (kind is ClusterIP / NodePort / other, policy Local)
    (FrontendKind.CLUSTER_IP, False): ClassKind.CLUSTER,
    (FrontendKind.CLUSTER_IP, True): ClassKind.CLUSTER_LOCAL,
    (FrontendKind.EXTERNAL_IP, False): ClassKind.EXTERNAL,
    (FrontendKind.EXTERNAL_IP, True): ClassKind.EXTERNAL_LOCAL,
    (FrontendKind.LOAD_BALANCER_IP, False): ClassKind.EXTERNAL,
    (FrontendKind.LOAD_BALANCER_IP, True): ClassKind.EXTERNAL_LOCAL,
    (FrontendKind.NODE_PORT, False): ClassKind.NODEPORT,
    (FrontendKind.NODE_PORT, True): ClassKind.NODEPORT_LOCAL,
}

_CLUSTER, _CLUSTER_LOCAL = ClassKind.CLUSTER, ClassKind.CLUSTER_LOCAL
_gotos: dict[tuple[ClassKind, int, int], Verdict] = {}


def _goto_class(kind: ClassKind, count: int, timeout_s: int) -> Verdict:
    """Equal verdicts as one object: there are as many elements as services."""
    verdict = _gotos.get((kind, count, timeout_s))
    if verdict is None:
        # Who chooses nothing remembers nothing.
        chain = ClassChain(kind, count, timeout_s if count else 0)
        verdict = _gotos[kind, count, timeout_s] = goto(chain.name)
    return verdict


def _verdicts(
    frontend: Frontend, prefix: bytes, targets: int, local_targets: int, timeout_s: int
) -> Iterable[tuple[str, bytes, Verdict]]:
    """The entries of one frontend in the verdict maps."""
    if frontend.kind is _CLUSTER_IP and frontend.action is _FORWARD:
        # Nearly every frontend of a cluster.
        is_local = frontend.is_local_only
        class_kind = _CLUSTER_LOCAL if is_local else _CLUSTER
        count = local_targets if is_local else targets
        goto_class = _goto_class(class_kind, count, timeout_s)
        yield names.SERVICE_IPS, prefix, goto_class
        return
    kind = _CLASS_KINDS[frontend.kind, frontend.is_local_only]
    serves_outside = frontend.action is Action.FORWARD
    if serves_outside or frontend.has_short_circuit:
        count = local_targets if frontend.is_local_only else targets
        dispatch = _where(frontend, names.SERVICE_IPS, names.SERVICE_NODEPORTS)
        yield dispatch, prefix, _goto_class(kind, count if serves_outside else 0, timeout_s)
    if frontend.has_short_circuit:
        is_nodeport = frontend.kind is FrontendKind.NODE_PORT
        inner = ClassKind.POD_TO_NODEPORT if is_nodeport else ClassKind.POD_TO_EXTERNAL
        shortcut = _where(frontend, names.SHORT_CIRCUIT_IPS, names.SHORT_CIRCUIT_NODEPORTS)
        yield shortcut, prefix, _goto_class(inner, targets, timeout_s)
    if not serves_outside:
        refusal = _where(frontend, names.NO_ENDPOINT_IPS, names.NO_ENDPOINT_NODEPORTS)
        yield refusal, prefix, _REJECT if frontend.action is Action.REJECT else DROP


def _hairpins(local: Iterable[bytes], protocol: bytes) -> Iterable[tuple[str, bytes]]:
    """Connections of a local endpoint to itself, as they look after translation."""
    for target in local:
        address, port = target[:-4], target[-4:]
        yield names.HAIRPIN, address + address + protocol + port
