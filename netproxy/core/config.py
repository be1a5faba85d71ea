"""What the operator asked this node's proxy to do. Flag names are kube-proxy's."""

from __future__ import annotations

import enum
from typing import NamedTuple

from netproxy.model.ip import Family, IPAddress, Prefix


class ProxyMode(enum.Enum):
    """What programs the kernel (``--proxy-mode``)."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"


class DetectLocalMode(enum.Enum):
    """How a packet from a pod of this node is told from others (``--detect-local-mode``).

    Source: kube-proxy 1.36, KubeProxyConfiguration.detectLocalMode.
    """

    CLUSTER_CIDR = "ClusterCIDR"
    NODE_CIDR = "NodeCIDR"
    BRIDGE_INTERFACE = "BridgeInterface"
    INTERFACE_NAME_PREFIX = "InterfaceNamePrefix"


class ProxyConfig(NamedTuple):
    """Settings of one proxy on one node; both IP families."""

    node_name: str
    """An endpoint is local when its nodeName equals this (``--hostname-override``)."""
    node_ips: tuple[IPAddress, ...] = ()
    """``--node-ip``: the primary addresses; empty: those of the Node object, then the kernel's."""
    zone: str = ""
    """``--zone``; empty: taken from the Node object's label."""
    service_cidrs: tuple[Prefix, ...] = ()
    """``--service-cidr``: added to what ServiceCIDR objects tell."""
    cluster_cidrs: tuple[Prefix, ...] = ()
    """``--cluster-cidr``: pod addresses of the cluster. Only the first of each family counts."""
    detect_local_mode: DetectLocalMode = DetectLocalMode.CLUSTER_CIDR
    pod_bridge_interface: str = ""
    pod_interface_name_prefix: str = ""
    masquerade_all: bool = False
    masquerade_bit: int = 14
    """0..31: the bit of the packet mark that asks for masquerading."""
    nodeport_addresses: tuple[Prefix, ...] = ()
    """``--nodeport-addresses``; empty: the mode's default, unless ``nodeport_primary``."""
    nodeport_primary: bool = False
    """``--nodeport-addresses primary``: only the node's primary addresses."""
    localhost_nodeports: bool = True
    """``--iptables-localhost-nodeports``: NodePorts on 127.0.0.0/8, in iptables mode."""
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    mode: ProxyMode = ProxyMode.NFTABLES
    service_counters: bool = False
    """``--service-counters``: the kernel counts connections to each frontend."""
    iptables_variant: str = "auto"
    """``--iptables-variant``: ``legacy``, ``nft``, or ``auto``: the one that is in use."""

    @property
    def masquerade_mark(self) -> int:
        return 1 << self.masquerade_bit
