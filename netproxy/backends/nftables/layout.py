"""The constant part of the rule set: base chains, maps, and the class chains.

A packet's way through it, first packet of a connection:

    filter-prerouting-pre-dnat / filter-output-pre-dnat → source-ranges: may this client use the
        load balancer's address? If not, drop
    nat-prerouting / nat-output → services: is the destination a frontend?  → its class chain:
        mark for masquerading if need be, pick a random index, rewrite the destination
        (with session affinity: the endpoint that the client had, see ``_remembered``)
    filter-input / -forward / -output: still addressed to a frontend? Then it has no endpoint
        for this client: reject or drop
    nat-postrouting: marked, or a pod that reached itself → masquerade
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netproxy.backends.nftables import names
from netproxy.backends.nftables.names import ClassChain, ClassKind
from netproxy.backends.nftables.sources import SOURCE_SETS, source_chain
from netproxy.model.ip import Family, IPAddress, Prefix, pack_address
from netproxy.nft.expr import (
    ADDRESS_TYPE_LOCAL,
    DROP,
    Dnat,
    DropElement,
    Field,
    FlipMark,
    InSet,
    Key,
    Masquerade,
    Match,
    MatchMark,
    MatchNewConnection,
    MatchPrefix,
    MatchTranslated,
    Numgen,
    PutElement,
    Reject,
    RestoreDaddr,
    RewriteDaddr,
    Rule,
    SetMark,
    Statement,
    VerdictMap,
    jump,
)
from netproxy.nft.objects import Chain, Elements, Hook, SetKind, SetSpec

PRE_DNAT, DSTNAT, FILTER, SRCNAT = -110, -100, 0, 100
"""Source: nft(8), standard priority names."""

FRONTEND: tuple[Field, ...] = (Key.DADDR, Key.L4PROTO, Key.DPORT)
NODEPORT: tuple[Field, ...] = (Key.L4PROTO, Key.DPORT)
TARGET: tuple[Field, ...] = (Key.DADDR, Key.DPORT)
TICKET: tuple[Field, ...] = (Key.DADDR,)
"""A number for an endpoint of a service port, in the shape of an address: see ``affinity``."""
CLIENT: tuple[Field, ...] = (Key.SADDR_DADDR_HEAD,)
"""Who asks for which service port: source, and the part of a ticket that says the latter."""
MOST_CLIENTS = 1 << 18
"""How many clients of service ports are remembered at a time, as many as a connection table has
entries by default; others are served without being remembered."""
_ANY_INDEX = Numgen(2)
"""A map's declaration needs some modulus; the type is that of any."""

SETS: dict[str, SetSpec] = {
    **SOURCE_SETS,
    names.FIREWALLED_IPS: SetSpec(SetKind.SET, FRONTEND),
    names.CONNECTIONS: SetSpec(SetKind.SET, FRONTEND, counts=True),
    names.NODEPORT_CONNECTIONS: SetSpec(SetKind.SET, NODEPORT, counts=True),
    names.CLUSTER_IPS: SetSpec(SetKind.SET, (Key.DADDR,)),
    names.NODEPORT_IPS: SetSpec(SetKind.SET, (Key.DADDR,)),
    names.HAIRPIN: SetSpec(SetKind.SET, (Key.SADDR, *FRONTEND)),
    names.SERVICE_IPS: SetSpec(SetKind.VERDICT_MAP, FRONTEND),
    names.SERVICE_NODEPORTS: SetSpec(SetKind.VERDICT_MAP, NODEPORT),
    names.SHORT_CIRCUIT_IPS: SetSpec(SetKind.VERDICT_MAP, FRONTEND),
    names.SHORT_CIRCUIT_NODEPORTS: SetSpec(SetKind.VERDICT_MAP, NODEPORT),
    names.NO_ENDPOINT_IPS: SetSpec(SetKind.VERDICT_MAP, FRONTEND),
    names.NO_ENDPOINT_NODEPORTS: SetSpec(SetKind.VERDICT_MAP, NODEPORT),
    names.ENDPOINTS: SetSpec(SetKind.DATA_MAP, (*FRONTEND, _ANY_INDEX), TARGET),
    names.NODEPORT_ENDPOINTS: SetSpec(SetKind.DATA_MAP, (*NODEPORT, _ANY_INDEX), TARGET),
    names.TICKETS: SetSpec(SetKind.DATA_MAP, (*FRONTEND, _ANY_INDEX), TICKET),
    names.NODEPORT_TICKETS: SetSpec(SetKind.DATA_MAP, (*NODEPORT, _ANY_INDEX), TICKET),
    names.TICKET_ENDPOINTS: SetSpec(SetKind.DATA_MAP, (*TICKET, Key.L4PROTO), TARGET),
    names.LOCAL_TICKET_ENDPOINTS: SetSpec(SetKind.DATA_MAP, (*TICKET, Key.L4PROTO), TARGET),
    names.CLIENTS: SetSpec(SetKind.DATA_MAP, CLIENT, TICKET, is_dynamic=True, size=MOST_CLIENTS),
}
"""Every set and map that there could be. Who is allowed comes before what is forbidden to others,
because in this order they are filled."""


COUNTING_SETS = (names.CONNECTIONS, names.NODEPORT_CONNECTIONS)
"""Those that exist only where connections are counted."""


class LocalDetector(NamedTuple):
    """How packets of this node's pods are recognised: by source network or by interface."""

    prefix: Prefix | None = None
    interface: str = ""
    """An interface name; a trailing ``*`` matches every name that begins so."""

    def match(self, *, negate: bool) -> Statement:
        """Go on if the packet is (not) from a pod of this node."""
        if self.prefix is not None:
            return MatchPrefix(Key.SADDR, self.prefix, negate)
        return Match(Key.IIFNAME, self.interface, negate)


class Settings(NamedTuple):
    """What the constant rules depend on, in one family."""

    family: Family
    masquerade_mark: int = 1 << 14
    masquerade_all: bool = False
    detector: LocalDetector | None = None
    """None: pods cannot be told from others, so nothing to a ClusterIP is masqueraded."""
    service_cidrs: tuple[Prefix, ...] = ()
    nodeport_ips: tuple[IPAddress, ...] | None = None
    """The node's addresses that accept NodePorts; None: all but loopback."""
    counts: bool = False
    """Count connections to each frontend."""


def base_chains(settings: Settings, lengths: Iterable[int]) -> dict[str, Chain]:
    """All chains but the class chains, in an order in which each refers only to earlier ones.

    Args:
        settings: On which they depend.
        lengths: The prefix lengths of all source ranges.
    """
    return {
        names.REJECT: Chain((Rule((Reject(),)),)),
        names.SOURCE_RANGES: source_chain(lengths, settings.family),
        names.FILTER_PREROUTING: Chain(_filter_early(), Hook("filter", "prerouting", PRE_DNAT)),
        names.FILTER_OUTPUT_PRE_DNAT: Chain(_filter_early(), Hook("filter", "output", PRE_DNAT)),
        names.SERVICES: Chain(_services(settings)),
        names.REMEMBERED: Chain(_remembered(names.TICKET_ENDPOINTS)),
        names.REMEMBERED_LOCAL: Chain(_remembered(names.LOCAL_TICKET_ENDPOINTS)),
        names.NO_ENDPOINTS: Chain(
            (Rule((VerdictMap(FRONTEND, names.NO_ENDPOINT_IPS),), "no endpoint: reject or drop"),)
        ),
        names.UNKNOWN_CLUSTER_IPS: Chain(_unknown_cluster_ips(settings)),
        names.NAT_PREROUTING: Chain(
            (Rule((jump(names.SERVICES),)),), Hook("nat", "prerouting", DSTNAT)
        ),
        names.NAT_OUTPUT: Chain((Rule((jump(names.SERVICES),)),), Hook("nat", "output", DSTNAT)),
        names.FILTER_INPUT: Chain(_filter_input(settings), Hook("filter", "input", FILTER)),
        names.FILTER_FORWARD: Chain(_filter_new(), Hook("filter", "forward", FILTER)),
        names.FILTER_OUTPUT: Chain(_filter_new(), Hook("filter", "output", FILTER)),
        names.NAT_POSTROUTING: Chain(_postrouting(settings), Hook("nat", "postrouting", SRCNAT)),
    }


def base_elements(settings: Settings) -> dict[str, Elements]:
    """The elements that belong to no service."""
    accepting = settings.nodeport_ips or ()
    return {names.NODEPORT_IPS: {pack_address(address): None for address in accepting}}


def _filter_early() -> tuple[Rule, ...]:
    """Before translation, so that the destination is still the load balancer's address."""
    is_firewalled = InSet(FRONTEND, names.FIREWALLED_IPS)
    return (Rule((MatchNewConnection(), is_firewalled, jump(names.SOURCE_RANGES))),)


def _services(settings: Settings) -> tuple[Rule, ...]:
    """Only the first packet of a connection comes here, so that counting those counts these."""
    nodeports = VerdictMap(NODEPORT, names.SERVICE_NODEPORTS)
    accepts = _accepts_nodeports(settings)
    counting = (
        Rule((InSet(FRONTEND, names.CONNECTIONS),), "counted by the element"),
        Rule((*accepts, InSet(NODEPORT, names.NODEPORT_CONNECTIONS)), "the same for NodePorts"),
    )
    return (
        *(counting if settings.counts else ()),
        Rule((VerdictMap(FRONTEND, names.SERVICE_IPS),), "cluster, external, load-balancer IPs"),
        Rule((*accepts, nodeports), "NodePorts"),
    )


def _accepts_nodeports(settings: Settings) -> tuple[Statement, ...]:
    """Only packets to an address of this node that accepts NodePorts go on."""
    if settings.nodeport_ips is not None:
        return (InSet((Key.DADDR,), names.NODEPORT_IPS),)
    return (Match(Key.DADDR_TYPE, ADDRESS_TYPE_LOCAL), _not_loopback(settings.family))


def _not_loopback(family: Family) -> Statement:
    loopback = Prefix(IPAddress("127.0.0.0"), 8) if family is Family.IPV4 else LOOPBACK6
    return MatchPrefix(Key.DADDR, loopback, negate=True)


LOOPBACK6 = Prefix(IPAddress("::1"), 128)


def _unknown_cluster_ips(settings: Settings) -> tuple[Rule, ...]:
    known = Rule(
        (InSet((Key.DADDR,), names.CLUSTER_IPS), Reject()), "a ClusterIP, but no such port"
    )
    unallocated = [
        Rule((MatchPrefix(Key.DADDR, cidr), DROP), "in the service range, but nobody's address")
        for cidr in settings.service_cidrs
        if cidr.family is settings.family
    ]
    return (known, *unallocated)


def _filter_input(settings: Settings) -> tuple[Rule, ...]:
    if settings.nodeport_ips is None:
        accepting: Statement = _not_loopback(settings.family)
    else:
        accepting = InSet((Key.DADDR,), names.NODEPORT_IPS)
    lookup = VerdictMap(NODEPORT, names.NO_ENDPOINT_NODEPORTS)
    return (
        Rule((MatchNewConnection(), accepting, lookup), "NodePort without endpoint"),
        Rule((MatchNewConnection(), jump(names.NO_ENDPOINTS))),
    )


def _filter_new() -> tuple[Rule, ...]:
    return (
        Rule((MatchNewConnection(), jump(names.NO_ENDPOINTS))),
        Rule((MatchNewConnection(), jump(names.UNKNOWN_CLUSTER_IPS))),
    )


def _postrouting(settings: Settings) -> tuple[Rule, ...]:
    mark = settings.masquerade_mark
    itself = InSet((Key.SADDR, *FRONTEND), names.HAIRPIN)
    return (
        Rule((MatchMark(mark), FlipMark(mark), Masquerade()), "so that replies come back this way"),
        Rule((MatchTranslated(), itself, Masquerade()), "a pod that reached itself"),
    )


_NODEPORT_KINDS = (ClassKind.NODEPORT, ClassKind.NODEPORT_LOCAL, ClassKind.POD_TO_NODEPORT)
_LOCAL_KINDS = (ClassKind.CLUSTER_LOCAL, ClassKind.EXTERNAL_LOCAL, ClassKind.NODEPORT_LOCAL)


def class_chain(chain: ClassChain, settings: Settings) -> Chain:
    """The rules of a class chain."""
    is_nodeport = chain.kind in _NODEPORT_KINDS
    offset = names.LOCAL_INDEX if chain.kind in _LOCAL_KINDS else 0
    frontend = NODEPORT if is_nodeport else FRONTEND
    rules = _before_choice(chain.kind, settings)
    choice = (*frontend, Numgen(chain.endpoints, offset))
    if chain.affinity_timeout_s:
        rules += _choice_with_affinity(chain, choice)
    elif chain.endpoints:
        endpoints = names.NODEPORT_ENDPOINTS if is_nodeport else names.ENDPOINTS
        rules += (Rule((Dnat(choice, endpoints),), _choice_comment(chain)),)
    return Chain(rules)


def _choice_with_affinity(chain: ClassChain, choice: tuple[Field, ...]) -> tuple[Rule, ...]:
    """A client that is new here gets an endpoint, one that is known the endpoint it had.

    The destination is about to be rewritten, so it serves as a variable: a random ticket, then the
    one that the client has.
    """
    is_nodeport = chain.kind in _NODEPORT_KINDS
    is_local = chain.kind in _LOCAL_KINDS
    take = RewriteDaddr(choice, names.NODEPORT_TICKETS if is_nodeport else names.TICKETS)
    put = PutElement(names.CLIENTS, CLIENT, TICKET, chain.affinity_timeout_s)
    endpoints = names.LOCAL_TICKET_ENDPOINTS if is_local else names.TICKET_ENDPOINTS
    return (
        Rule((take, put), f"{_choice_comment(chain)}, if the client is new; if not, time restarts"),
        Rule((jump(names.REMEMBERED_LOCAL if is_local else names.REMEMBERED),)),
        Rule((take, put), "its endpoint is gone: another"),
        Rule((Dnat((*TICKET, Key.L4PROTO), endpoints),)),
        Rule((DROP,), "the instant of a change: the client will try again"),
    )


def _remembered(endpoints: str) -> tuple[Rule, ...]:
    """With a ticket of the service port as destination: where this client goes.

    Comes back only if that endpoint may not be used, with the client forgotten and the
    destination that the packet had.
    """
    return (
        Rule((RewriteDaddr(CLIENT, names.CLIENTS),), "the ticket that this client has"),
        Rule((Dnat((*TICKET, Key.L4PROTO), endpoints),)),
        Rule((DropElement(names.CLIENTS, CLIENT, TICKET), RestoreDaddr())),
    )


def _choice_comment(chain: ClassChain) -> str:
    which = "of this node's " if chain.kind in _LOCAL_KINDS else "of "
    return f"one {which}{chain.endpoints}" if chain.endpoints > 1 else "the only one"


def _before_choice(kind: ClassKind, settings: Settings) -> tuple[Rule, ...]:
    """Masquerading and short circuits, before an endpoint is picked."""
    mark = SetMark(settings.masquerade_mark)
    match kind:
        case ClassKind.CLUSTER | ClassKind.CLUSTER_LOCAL:
            if settings.masquerade_all:
                return (Rule((mark,), "masquerade all"),)
            if settings.detector is None:
                return ()
            return (Rule((settings.detector.match(negate=True), mark), "not from a pod"),)
        case ClassKind.EXTERNAL | ClassKind.NODEPORT:
            return (Rule((mark,), "from outside: replies must return through this node"),)
        case ClassKind.EXTERNAL_LOCAL:
            return _short_circuit(VerdictMap(FRONTEND, names.SHORT_CIRCUIT_IPS), settings)
        case ClassKind.NODEPORT_LOCAL:
            return _short_circuit(VerdictMap(NODEPORT, names.SHORT_CIRCUIT_NODEPORTS), settings)
        case ClassKind.POD_TO_EXTERNAL | ClassKind.POD_TO_NODEPORT:
            return ()


def _short_circuit(lookup: VerdictMap, settings: Settings) -> tuple[Rule, ...]:
    """Clients on this node are served as if the policy were Cluster.

    Source: kube-proxy 1.36: pods as if they had gone out to the load balancer and come back, so
    without masquerading; the node itself with it.
    """
    own = Match(Key.SADDR_TYPE, ADDRESS_TYPE_LOCAL)
    from_node = Rule((own, SetMark(settings.masquerade_mark), lookup), "from this node itself")
    if settings.detector is None:
        return (from_node,)
    from_pod = Rule((settings.detector.match(negate=False), lookup), "from a pod of this node")
    return (from_pod, from_node)
