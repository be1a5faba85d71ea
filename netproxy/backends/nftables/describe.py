"""What each set and chain is for, in one line: the comments of a rendered rule set."""

from __future__ import annotations

from netproxy.backends.nftables import names
from netproxy.backends.nftables.names import ClassChain, ClassKind, parse_class_chain
from netproxy.backends.nftables.sources import LENGTHS

DESCRIPTIONS = {
    names.FIREWALLED_IPS: "Load balancers' addresses that only some sources may use.",
    names.CLUSTER_IPS: "Every ClusterIP, so that connections to its other ports can be refused.",
    names.NODEPORT_IPS: "Addresses of this node that accept NodePorts.",
    names.HAIRPIN: "Endpoints on this node, as source and destination: a pod that reached itself.",
    names.SERVICE_IPS: "The dispatch: a Service's address . protocol . port leads to the chain for "
    "its kind and its number of endpoints.",
    names.SERVICE_NODEPORTS: "The same for NodePorts.",
    names.CONNECTIONS: "Counts new connections to each frontend, answered or not.",
    names.NODEPORT_CONNECTIONS: "The same for NodePorts.",
    names.SHORT_CIRCUIT_IPS: "Frontends with externalTrafficPolicy Local, as clients on this node "
    "are served: by any endpoint.",
    names.SHORT_CIRCUIT_NODEPORTS: "The same for NodePorts.",
    names.NO_ENDPOINT_IPS: "Frontends that nobody serves: refuse, or drop if another node might.",
    names.NO_ENDPOINT_NODEPORTS: "The same for NodePorts.",
    names.ENDPOINTS: "The endpoints: frontend . index leads to address . port. Those on this node "
    f"appear again from index {names.LOCAL_INDEX} on where a policy asks for them.",
    names.NODEPORT_ENDPOINTS: "The same for NodePorts.",
    names.TICKETS: "Session affinity: frontend . index leads to the ticket of an endpoint, which "
    "is the service port's number and the endpoint's in the shape of an address.",
    names.NODEPORT_TICKETS: "The same for NodePorts.",
    names.TICKET_ENDPOINTS: "The endpoints that tickets stand for. Tickets of those that are gone "
    "lead nowhere.",
    names.LOCAL_TICKET_ENDPOINTS: "The same for policy Local: endpoints on this node.",
    names.CLIENTS: "Who has which ticket: client address and service port. The kernel fills it and "
    "lets entries expire.",
    names.REMEMBERED: "Session affinity: to the endpoint of the ticket that the client has.",
    names.REMEMBERED_LOCAL: "The same for policy Local.",
    names.REJECT: "Verdict maps cannot hold a reject, so they lead here.",
    names.SOURCE_RANGES: "Only clients in one of its ranges may use a load balancer's address.",
    names.FILTER_PREROUTING: "Packets that arrive here, still with the destination they came with.",
    names.FILTER_OUTPUT_PRE_DNAT: "The same for packets of this node's own processes.",
    names.SERVICES: "First packet of a connection: is its destination a Service?",
    names.NO_ENDPOINTS: "Still addressed to a frontend: nobody took it.",
    names.UNKNOWN_CLUSTER_IPS: "Service addresses that lead nowhere.",
    names.NAT_PREROUTING: "Packets that arrive here, from pods and from outside.",
    names.NAT_OUTPUT: "Packets of this node's own processes.",
    names.NAT_POSTROUTING: "Packets that leave; replies must find the way back.",
}

_CLASS_DESCRIPTIONS = {
    ClassKind.CLUSTER: "ClusterIPs with {count}.",
    ClassKind.CLUSTER_LOCAL: "ClusterIPs with internalTrafficPolicy Local and {count} here.",
    ClassKind.EXTERNAL: "External addresses with {count}.",
    ClassKind.EXTERNAL_LOCAL: "External addresses, externalTrafficPolicy Local, {count} here.",
    ClassKind.POD_TO_EXTERNAL: "Clients on this node to an external address with {count}.",
    ClassKind.NODEPORT: "NodePorts with {count}.",
    ClassKind.NODEPORT_LOCAL: "NodePorts with externalTrafficPolicy Local and {count} here.",
    ClassKind.POD_TO_NODEPORT: "Clients on this node to a NodePort with {count}.",
}


def describe_class_chain(chain: ClassChain) -> str:
    """What a class chain is for."""
    many = {0: "no endpoints", 1: "one endpoint"}
    count = many.get(chain.endpoints, f"{chain.endpoints} endpoints")
    affinity = f" Clients stay for {chain.affinity_timeout_s} s." * bool(chain.affinity_timeout_s)
    return _CLASS_DESCRIPTIONS[chain.kind].format(count=count) + affinity


def describe(name: str) -> str:
    """What the set or chain of this name is for; empty for names that are not ours."""
    if name in LENGTHS:
        return f"Who may use a load balancer's address: frontend . network of /{LENGTHS[name]}."
    parsed = parse_class_chain(name)
    return describe_class_chain(parsed) if parsed else DESCRIPTIONS.get(name, "")
