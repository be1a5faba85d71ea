"""Flags of the API server, its controllers and DNS: ``apiserver`` and ``standalone``."""

from __future__ import annotations

import click

from netproxy.cli.options import decorator, flag, switch

_DATA_DIR = flag(
    "--data-dir",
    metavar="DIRECTORY",
    type=click.Path(),
    default="/var/lib/netproxy",
    show_default=True,
    help="Objects, keys, tokens, kubeconfigs, and what is known of Pods; made with mode 0700.",
)
_DOMAIN = flag(
    "--cluster-domain",
    default="cluster.local",
    show_default=True,
    metavar="NAME",
    help="Under which Services have their names.",
)

_SERVER = (
    _DATA_DIR,
    flag(
        "--api-address",
        multiple=True,
        metavar="ADDRESS",
        help="Where the API is served; nodes on other hosts need one that they reach. Repeatable. "
        "[default: 127.0.0.1]",
    ),
    flag("--api-port", default="6443", show_default=True, metavar="PORT", help="0: any."),
    flag(
        "--advertise-address",
        metavar="ADDRESS",
        help="By which pods and nodes call it.  [default: the first --api-address that is not "
        "loopback]",
    ),
    flag(
        "--api-name",
        multiple=True,
        metavar="NAME",
        help="Further names and addresses by which clients call it: for its certificate.",
    ),
    flag(
        "--service-node-port-range",
        default="30000-32767",
        show_default=True,
        metavar="FIRST-LAST",
        help="Where NodePorts come from.",
    ),
    flag(
        "--load-balancer-pool",
        multiple=True,
        metavar="PREFIX|FIRST-LAST",
        help="Where addresses of LoadBalancers come from.  [default: nowhere; they stay pending]",
    ),
    _DOMAIN,
)

_RANGES = (
    flag(
        "--service-cidr",
        multiple=True,
        metavar="PREFIX[,PREFIX]",
        help="Where ClusterIPs come from, one prefix for each IP family.  [default: 10.96.0.0/16]",
    ),
    flag(
        "--cluster-cidr",
        multiple=True,
        metavar="PREFIX[,PREFIX]",
        help="Where pods' addresses come from; nodes get parts.  [default: 10.244.0.0/16]",
    ),
)

_DNS = (
    switch("--dns", default=True, help="Serve the names of Services and pods."),
    flag(
        "--dns-port",
        default="10053",
        show_default=True,
        metavar="PORT",
        help="Of this node; clients ask Service kube-dns at port 53.",
    ),
    flag(
        "--dns-upstream",
        multiple=True,
        metavar="ADDRESS[:PORT]|none",
        help="Who knows all other names.  [default: those of /etc/resolv.conf]",
    ),
)

_PREFIX = flag(
    "--pod-namespace-prefix",
    default="netproxy-pod-",
    show_default=True,
    metavar="PREFIX",
    help="Of the names of Pods' network namespaces (ip netns).",
)

_PODS = (
    switch(
        "--run-pods",
        default=True,
        help="Run the Pods that are bound to this node, as processes of this host.",
    ),
    _PREFIX,
)

_JOIN = (
    switch(
        "--run-pods",
        default=False,
        help="Be a node of a cluster without kubelets (netproxy standalone): register, route to "
        "the other nodes, run Pods as processes of this host.",
    ),
    _DATA_DIR,
    _DOMAIN,
    flag(
        "--cluster-dns",
        multiple=True,
        metavar="ADDRESS",
        help="Whom Pods ask for names.  [default: Service kube-system/kube-dns]",
    ),
    _PREFIX,
)


server_flags = decorator(_SERVER)
"""What the API server and its controllers go by, but for ranges."""
range_flags = decorator(_RANGES)
"""Ranges of addresses; the proxy's flags have the same names."""
dns_flags = decorator(_DNS)
"""What DNS goes by."""
pod_flags = decorator(_PODS)
"""What the node agent of ``standalone`` goes by."""
join_flags = decorator(_JOIN)
"""What the node agent of ``run`` goes by."""
