"""The clusters that are measured: plain Services with endpoints on other nodes, but for one.

Every second Service, numbers 1, 3, 5 and so on, has in addition the features that the environment
variable ``NETPROXY_BENCH_HALF`` names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from netproxy.core.config import ProxyConfig
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort, TrafficPolicy

ENDPOINTS = 5
NODE = "node-1"
CONFIG = ProxyConfig(
    NODE,
    node_ips=(IPAddress("192.168.0.2"),),
    cluster_cidrs=(parse_prefix("10.128.0.0/9"),),
    service_cidrs=(parse_prefix("10.96.0.0/12"),),
    families=(Family.IPV4,),
)


HALF = "NETPROXY_BENCH_HALF"
"""Names of features, with commas between."""
_RANGES = ("198.51.100.0/24", "203.0.113.0/25")
FEATURES: dict[str, Mapping[str, Any]] = {
    "affinity": {"sessionAffinity": "ClientIP"},
    "policies": {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"},
    "ranges": {"type": "LoadBalancer", "loadBalancerSourceRanges": list(_RANGES)},
}
"""What each is in a Service's spec; with the last, it also has a load balancer's address."""


def _has(feature: str, number: int) -> bool:
    return number % 2 == 1 and feature in os.environ.get(HALF, "").split(",")


def cluster_ip(number: int) -> IPAddress:
    """The address of Service ``number``."""
    return IPAddress(f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}")


def load_balancer_ip(number: int) -> IPAddress:
    """Where a load balancer answers for Service ``number``."""
    return IPAddress(f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}")


def pod_ip(number: int) -> IPAddress:
    """The address of endpoint ``number``, counted over all Services."""
    return IPAddress(f"10.{128 + (number >> 16)}.{number >> 8 & 255}.{number & 255}")


def slice_of(number: int, endpoints: int = ENDPOINTS, *, exchanged: int = 0) -> EndpointSlice:
    """The endpoints of one Service; ``exchanged`` gives the last one another address."""
    first = number * ENDPOINTS
    addresses = [pod_ip(first + i) for i in range(endpoints)]
    if exchanged:
        addresses[-1] = IPAddress(f"10.250.{exchanged >> 8 & 255}.{exchanged & 255}")
    reached = tuple(
        Endpoint(address, NODE if i == 0 else "node-2") for i, address in enumerate(addresses)
    )
    key = ServiceKey("bench", f"s{number}")
    return EndpointSlice(
        key, f"s{number}-1", Family.IPV4, (SlicePort("http", "TCP", 8080),), reached
    )


def cluster(services: int) -> list[Event]:
    """Everything that a source would say of so many Services."""
    events: list[Event] = []
    port = (ServicePort("http", "TCP", 80),)
    for number in range(services):
        key = ServiceKey("bench", f"s{number}")
        service = Service(key, port, (cluster_ip(number),))
        if _has("affinity", number):
            service = service._replace(affinity_timeout_s=10800)
        if _has("policies", number):
            local = TrafficPolicy.LOCAL
            service = service._replace(internal_policy=local, external_policy=local)
        if _has("ranges", number):
            ranges = tuple(map(parse_prefix, _RANGES))
            balancers = (load_balancer_ip(number),)
            service = service._replace(load_balancer_ips=balancers, source_ranges=ranges)
        events.append(Upsert(service))
        events.append(Upsert(slice_of(number)))
    return [*events, Listed()]


def manifests(services: int) -> Iterator[Mapping[str, Any]]:
    """The same as an API server writes it."""
    for number in range(services):
        name = f"s{number}"
        more = {k: v for f, spec in FEATURES.items() if _has(f, number) for k, v in spec.items()}
        yield {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "bench"},
            "spec": {
                "clusterIP": cluster_ip(number),
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
                **more,
            },
            "status": {
                "loadBalancer": {"ingress": [{"ip": load_balancer_ip(number)}]}
                if _has("ranges", number)
                else {}
            },
        }
        reached = slice_of(number).endpoints
        yield {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-1",
                "namespace": "bench",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [
                {"addresses": [e.address], "conditions": {"ready": True}, "nodeName": e.node}
                for e in reached
            ],
        }


def chain_per_service(services: int) -> Iterator[str]:
    """The yardstick: a chain and an anonymous map for each Service, as nft text."""
    yield "add table ip yardstick\n"
    yield (
        "add map ip yardstick service-ips "
        "{ type ipv4_addr . inet_proto . inet_service : verdict; }\n"
    )
    yield "add chain ip yardstick nat-prerouting { type nat hook prerouting priority -100; }\n"
    yield "add chain ip yardstick nat-output { type nat hook output priority -100; }\n"
    for hook in ("prerouting", "output"):
        yield (
            f"add rule ip yardstick nat-{hook} "
            "ip daddr . meta l4proto . th dport vmap @service-ips\n"
        )
    for number in range(services):
        yield from service_chain(number, ENDPOINTS)
        yield (
            f"add element ip yardstick service-ips "
            f"{{ {cluster_ip(number)} . tcp . 80 : goto service-{number} }}\n"
        )


def service_chain(number: int, endpoints: int) -> Iterator[str]:
    """The yardstick's chain of one Service."""
    first = number * ENDPOINTS
    targets = ", ".join(f"{i} : {pod_ip(first + i)} . 8080" for i in range(endpoints))
    yield f"add chain ip yardstick service-{number}\n"
    yield f"flush chain ip yardstick service-{number}\n"
    yield (
        f"add rule ip yardstick service-{number} meta l4proto tcp "
        f"dnat ip addr . port to numgen random mod {endpoints} map {{ {targets} }}\n"
    )
