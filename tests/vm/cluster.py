"""Two nodes that serve the same Services, each by the unit that ``netproxy deploy unit`` prints."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from netproxy.model.ip import Family
from tests.vm.machines import CLIENT, NODES, Node

UNIT = "/etc/systemd/system/netproxy.service"
PODS_UNIT = "/etc/systemd/system/np-pods.service"
RULES_BEFORE_PODS = "/run/rules-before-pods"
MANIFESTS = "/etc/netproxy/services"
NETPROXY = "/opt/netproxy/bin/netproxy"
LIST_RULES = "; ".join(
    [
        "nft list table ip netproxy 2>/dev/null",
        "nft list table ip6 netproxy 2>/dev/null",
        "iptables-legacy-save | grep KUBE-",
        "ip6tables-legacy-save | grep KUBE-",
        "true",
    ]
)
"""Ours, whatever the mode; what other modes have left of empty tables is not compared."""

MODES = {
    "nftables": (),
    "iptables-nft": ("--proxy-mode=iptables", "--iptables-variant=nft"),
    "iptables-legacy": ("--proxy-mode=iptables", "--iptables-variant=legacy"),
}

# Pods are what they are on a node with a kubelet: they come after the proxy.
PODS_SERVICE = """[Unit]
Description=Pods of this node
After=netproxy.service netproxy-lan.service
[Service]
Type=notify
NotifyAccess=all
ExecStartPre=/bin/sh -c '({list_rules}) >{rules}'
ExecStart=/usr/bin/python3 /netproxy/tests/vm/pods.py {number} {nodes}
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""

CLUSTER_IPS = {Family.IPV4: "10.96.0.{}", Family.IPV6: "fd00:96::{}"}
BALANCER_IPS = {Family.IPV4: "198.51.100.{}", Family.IPV6: "2001:db8:56::{}"}
PODS = {Family.IPV4: "10.244.{}.{}", Family.IPV6: "fd00:244:{}::{}"}
HOSTS = {"node1-a": (1, 2), "node1-b": (1, 3), "node2-a": (2, 2), "node2-b": (2, 3)}


def pod_address(pod: str, family: Family) -> str:
    return PODS[family].format(*HOSTS[pod])


def cluster_ip(number: int, family: Family) -> str:
    return CLUSTER_IPS[family].format(number)


def balancer_ip(number: int, family: Family) -> str:
    return BALANCER_IPS[family].format(number)


def service(name: str, number: int, pods: Sequence[str], fields: str = "") -> str:
    """A load balancer of both families, whose addresses end with its number.

    Args:
        name: Its name.
        number: NodePort 30000 and this; last part of its ClusterIPs and load balancer's addresses.
        pods: Its endpoints.
        fields: Lines of YAML that are added to its spec.
    """
    addresses = [cluster_ip(number, family) for family in Family]
    balancer = [{"ip": balancer_ip(number, family)} for family in Family]
    ports = [
        f"{{name: {protocol.lower()}, protocol: {protocol}, port: 80, targetPort: 8080, "
        f"nodePort: {30000 + number}}}"
        for protocol in ("TCP", "UDP")
    ]
    text = f"""apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: LoadBalancer
  clusterIP: "{addresses[0]}"
  clusterIPs: {addresses}
  ipFamilies: [IPv4, IPv6]
  ports: [{", ".join(ports)}]
{fields}
status: {{loadBalancer: {{ingress: {balancer}}}}}
"""
    return text + "".join(_slice(name, pods, family) for family in Family)


def _slice(name: str, pods: Sequence[str], family: Family) -> str:
    endpoints = [
        f'{{addresses: ["{pod_address(pod, family)}"], nodeName: {pod.partition("-")[0]}}}'
        for pod in pods
    ]
    return f"""---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{family.label.lower()}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family.label}
ports: [{{name: tcp, protocol: TCP, port: 8080}}, {{name: udp, protocol: UDP, port: 8080}}]
endpoints: [{", ".join(endpoints)}]
"""


WEB, LOCAL, STICKY, ALLOWED, FORBIDDEN, EMPTY = 80, 81, 82, 83, 84, 85
HEALTH_PORT = 32081
SERVICES = {
    "web": service("web", WEB, ["node1-a", "node2-a"]),
    "local": service(
        "local",
        LOCAL,
        ["node2-a"],
        f"  externalTrafficPolicy: Local\n  healthCheckNodePort: {HEALTH_PORT}",
    ),
    "sticky": service("sticky", STICKY, list(HOSTS), "  sessionAffinity: ClientIP"),
    "allowed": service(
        "allowed",
        ALLOWED,
        ["node2-b"],
        f'  loadBalancerSourceRanges: ["{CLIENT[Family.IPV4]}/32", "{CLIENT[Family.IPV6]}/128"]',
    ),
    "forbidden": service(
        "forbidden",
        FORBIDDEN,
        ["node2-b"],
        '  loadBalancerSourceRanges: ["203.0.113.0/24", "2001:db8:113::/48"]',
    ),
    "empty": service("empty", EMPTY, []),
}


def prepare(node: Node) -> None:
    """Manifests and pods, which stay for all tests."""
    for name, text in SERVICES.items():
        node.write(f"{MANIFESTS}/{name}.yaml", text)
    text = PODS_SERVICE.format(
        list_rules=LIST_RULES, rules=RULES_BEFORE_PODS, number=node.number, nodes=len(NODES)
    )
    node.write(PODS_UNIT, text)
    node.run("systemctl daemon-reload && systemctl --quiet enable np-pods")
    node.run("systemctl restart np-pods")


def deploy(node: Node, mode: str) -> None:
    """Print the unit as a user does, and start it."""
    addresses = ",".join(node.address(family) for family in Family)
    flags = [f"--node-ip={addresses}", "--cluster-cidr=10.244.0.0/16,fd00:244::/32"]
    flags += ["-f", MANIFESTS, "--log-format=json", *MODES[mode]]
    node.run(f"{NETPROXY} deploy unit -- {shlex.join(flags)} >{UNIT}")
    node.run("systemctl daemon-reload && systemctl --quiet enable netproxy")
    node.run("systemctl restart netproxy")
    # Until then the rules of the mode before are there as well.
    node.wait_for(lambda: is_in_charge(node), "in charge")


def is_in_charge(node: Node) -> bool:
    """Whether the service has its rules in place, and others' are gone."""
    return any(event["event"] == "in charge" for event in node.events())


def withdraw(node: Node) -> None:
    """No proxy and no rules: the unit may not look into iptables-legacy unless it uses it."""
    node.run(f"systemctl stop netproxy || true; {NETPROXY} cleanup")


def everywhere(step: Callable[[Node], object]) -> None:
    """A step on every node at the same time."""
    with ThreadPoolExecutor(len(NODES)) as pool:
        list(pool.map(step, NODES))


def routes_of_client() -> list[list[str]]:
    """All addresses of Services are behind the first node, whose business it is to forward."""
    ways = [
        (Family.IPV4, "10.96.0.0/16"),
        (Family.IPV4, "198.51.100.0/24"),
        (Family.IPV6, "fd00:96::/112"),
        (Family.IPV6, "2001:db8:56::/64"),
    ]
    return [
        ["ip", "route", "replace", prefix, "via", NODES[0].address(family)]
        for family, prefix in ways
    ]
