"""What a proxy of Kubernetes 1.36 does, as a checklist: every row has a scenario or a reason.

A scenario names its rows in its header (``# covers: cluster-ip.forward, choice.uniform``); another
test names them with ``@pytest.mark.covers``. The table at the end of a test run has a line for
each row, and a cell for each mode and family.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.core.config import ProxyMode
from netproxy.model.ip import Family

FEATURES = {
    # Which objects count
    "objects.headless": "a Service without an address of its own is left alone",
    "objects.external-name": "an ExternalName is left alone",
    "objects.proxy-name": "a Service with a label for another proxy is left alone",
    "objects.slices": "all slices of a Service count, whoever manages them",
    "objects.slice-family": "a slice counts in its own family; one of names (FQDN) in none",
    "objects.first-address": "an endpoint has one address, the first",
    "objects.nil-ports": "a slice port without number is no port",
    "objects.condition-defaults": "absent conditions mean ready, serving, not terminating",
    "objects.duplicates": "an address that stands twice counts once; terminating loses",
    "objects.local": "an endpoint is local when its nodeName is the node's",
    "objects.port-names": "ports are matched by name and protocol, whatever the number",
    "objects.families": "a Service lives in the families of its cluster IPs",
    "objects.ingress": "of a load balancer's addresses those in mode VIP are served",
    "objects.external-ips": "external IPs are served",
    "objects.rivals": "two Services that want one address and port",
    "objects.protocols": "TCP, UDP and SCTP alike",
    "objects.legacy": "an Endpoints object stands in where there is no slice",
    "objects.changes": "a Service changes its type, port, protocol or address",
    "objects.stale-fields": "fields that another type left behind mean nothing",
    "objects.spellings": "addresses with leading zeros, or IPv4 within IPv6",
    # Which endpoints
    "endpoints.ready": "ready ones are used",
    "endpoints.not-ready": "those not ready are not, even if that leaves none",
    "endpoints.publish-not-ready": "what the controller calls ready is ready",
    "endpoints.terminating": "serving while terminating: used when nothing is ready",
    "endpoints.terminating-local": "the same among local ones, on its own",
    "endpoints.come-and-go": "new connections follow changes at once",
    "hints.nodes": "node hints, before zone hints",
    "hints.zones": "zone hints",
    "hints.incomplete": "one ready endpoint without hints switches them off",
    "hints.local-policy": "policy Local pays no heed to hints",
    "hints.zone-of-node": "the node's zone changes",
    # ClusterIP
    "cluster-ip.forward": "to any usable endpoint",
    "cluster-ip.no-endpoints": "refused",
    "cluster-ip.local": "internalTrafficPolicy Local: to local endpoints only",
    "cluster-ip.local-elsewhere": "the same with endpoints elsewhere only: dropped",
    "cluster-ip.undefined-port": "a port that the Service lacks: refused",
    "cluster-ip.ping": "no answer to ping: refused",
    "cluster-ip.unallocated": "an address of the range that no Service has: dropped",
    "cluster-ip.masquerade-all": "--masquerade-all",
    "cluster-ip.masquerade-outside": "who is no pod of this node is masqueraded",
    "choice.uniform": "all endpoints are equally likely",
    "choice.sticky": "a connection stays with its endpoint, whatever becomes of the list",
    # Session affinity
    "affinity.client-ip": "a client's connections go to one endpoint until the timeout",
    "affinity.shared": "all addresses of a service port share it; ports do not",
    "affinity.gone": "an endpoint that goes sets its clients free",
    # From outside
    "external.cluster": "policy Cluster: to any endpoint, masqueraded",
    "external.local": "policy Local, from outside: to local endpoints, source kept",
    "external.local-pod": "policy Local, from a pod here: to any endpoint, source kept",
    "external.local-node": "policy Local, from the node: to any endpoint, masqueraded",
    "external.local-elsewhere": "policy Local with endpoints elsewhere only: dropped",
    "external.local-no-detector": "policy Local where pods cannot be told from others",
    "external.no-endpoints": "refused",
    "external.undefined-port": "a port that the Service lacks goes on as if there were no proxy",
    "nodeport.primary": "open on the node's primary addresses",
    "nodeport.list": "--nodeport-addresses with a list",
    "nodeport.all": "--nodeport-addresses that match everything",
    "nodeport.other-family": "a list without this family: open on all of its addresses",
    "nodeport.localhost": "open on 127.0.0.0/8",
    "nodeport.loopback": "not open on loopback otherwise",
    "nodeport.no-endpoints": "refused",
    "nodeport.not-allocated": "a load balancer without NodePorts",
    # loadBalancerSourceRanges
    "ranges.load-balancer": "only they may use the load balancer's addresses; others are dropped",
    "ranges.not-elsewhere": "other addresses and NodePorts are open to all",
    "ranges.node": "a range with the node in it lets the balancer's addresses in",
    "ranges.no-endpoints": "who is not in range, when there is no endpoint",
    "ranges.other-family": "ranges of the other family say nothing; a prefix of length 0 lets all",
    # healthCheckNodePort
    "health.answers": "200 with a ready local endpoint, else 503; headers and body",
    "health.terminating": "503 when the last ready endpoint terminates",
    "health.ports": "ports follow the Service; one in use is named and tried again",
    "health.accept": "health-check ports are let in where others close INPUT",
    # Who is a pod of this node
    "detect.cluster-cidr": "by --cluster-cidr; only the first prefix of a family",
    "detect.node-cidr": "by the node's podCIDRs",
    "detect.bridge": "by the bridge",
    "detect.interface-prefix": "by the beginning of the interface's name",
    "detect.none": "nothing tells: nothing is masqueraded on its way to a ClusterIP",
    "masquerade.bit": "--iptables-masquerade-bit",
    "masquerade.foreign-bits": "other bits of the mark stay as they are",
    "masquerade.hairpin": "an endpoint that reaches itself is masqueraded",
    # Besides
    "conntrack.udp": "stale UDP flows are forgotten",
    "forward.accept": "connections to Services pass a FORWARD chain that drops",
    "forward.invalid": "packets that conntrack cannot place are dropped",
}
"""Row → what it is about. Source: kube-proxy 1.36."""

ROWS_OF_FLOWS = {
    "TestNoEndpointsReject": (
        "cluster-ip.no-endpoints",
        "external.no-endpoints",
        "nodeport.no-endpoints",
    ),
    "TestClusterIPGeneral": ("cluster-ip.forward", "objects.slices"),
    "TestLoadBalancer": (
        "objects.ingress",
        "external.cluster",
        "ranges.load-balancer",
        "ranges.not-elsewhere",
        "ranges.node",
    ),
    "TestNodePorts": ("nodeport.list", "nodeport.all"),
    "TestHealthCheckNodePort": ("health.accept",),
    "TestExternalTrafficPolicyLocal": (
        "external.local",
        "external.local-pod",
        "external.local-node",
        "external.local-elsewhere",
    ),
    "TestInternalTrafficPolicy": ("cluster-ip.local", "cluster-ip.local-elsewhere"),
    "TestTerminatingEndpointsTrafficPolicyLocal": ("endpoints.terminating-local",),
    "TestTerminatingEndpointsTrafficPolicyCluster": ("endpoints.terminating",),
    "TestInternalExternalMasquerade": (
        "cluster-ip.masquerade-all",
        "cluster-ip.masquerade-outside",
        "detect.none",
    ),
}
"""Packet facts of ``data/flows`` → rows, by the name of the reference's own test."""


class Absent(NamedTuple):
    """Cells that may be empty, and why."""

    reason: str
    mode: ProxyMode | None = None
    """None: in every mode."""
    family: Family | None = None
    """None: in every family."""


_IPTABLES_ONLY = "iptables mode only, as in kube-proxy"
_NFTABLES, _IPTABLES = ProxyMode.NFTABLES, ProxyMode.IPTABLES

ABSENT: dict[str, tuple[Absent, ...]] = {
    "cluster-ip.ping": (Absent("iptables mode leaves ping alone, as in kube-proxy", _IPTABLES),),
    "health.accept": (Absent(_IPTABLES_ONLY, _NFTABLES),),
    "forward.accept": (Absent(_IPTABLES_ONLY, _NFTABLES),),
    "forward.invalid": (Absent(_IPTABLES_ONLY, _NFTABLES),),
    "nodeport.localhost": (
        Absent(_IPTABLES_ONLY, _NFTABLES),
        Absent("the kernel routes nothing from ::1", _IPTABLES, Family.IPV6),
    ),
}


def reason_for_nothing(feature: str, mode: ProxyMode, family: Family) -> str:
    """Why this cell may be empty; empty when it may not."""
    for absent in ABSENT.get(feature, ()):
        if absent.mode in (None, mode) and absent.family in (None, family):
            return absent.reason
    return ""
