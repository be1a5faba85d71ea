"""A cluster in which every kind of record is to be found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from netproxy.api.objects import Object, key_of
from netproxy.api.resources import BY_KIND
from netproxy.dns.responder import Responder
from netproxy.dns.zone import Zone, ZoneSettings
from tests.kube.objects import endpoint_slice, service

ZONE = "cluster.local."
SETTINGS = ZoneSettings(serial=7)


def namespace(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def pod(
    name: str, addresses: Sequence[str], *, within: str = "default", phase: str = "Running"
) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": within},
        "status": {
            "phase": phase,
            "podIP": addresses[0] if addresses else None,
            "podIPs": [{"ip": each} for each in addresses],
        },
    }


def port(name: str, number: int, protocol: str = "TCP") -> Object:
    return {"name": name, "port": number, "protocol": protocol}


def headless(name: str, **spec: Any) -> Object:
    return service(name, "None", clusterIPs=["None"], **spec)


def external(name: str, target: str) -> Object:
    made = service(name)
    return {**made, "spec": {"type": "ExternalName", "externalName": target}}


def endpoint(address: str, hostname: str = "", *, ready: bool | None = True) -> Object:
    conditions = {} if ready is None else {"conditions": {"ready": ready}}
    return {"addresses": [address], **conditions, **({"hostname": hostname} if hostname else {})}


def slice_of(service_name: str, name: str, endpoints: Sequence[Object], **fields: Any) -> Object:
    """An EndpointSlice whose family is that of its first endpoint."""
    is_ipv6 = bool(endpoints) and ":" in endpoints[0]["addresses"][0]
    fields = {"addressType": "IPv6" if is_ipv6 else "IPv4", **fields}
    made = endpoint_slice(service_name, [], name=name, namespace="default")
    return {**made, "endpoints": list(endpoints), **fields}


_SQL = [port("sql", 5432), port("", 9999)]

OBJECTS: tuple[Object, ...] = (
    *map(namespace, ("default", "kube-system", "empty")),
    service("kube-dns", "10.96.0.10", namespace="kube-system"),
    service(
        "web",
        "10.96.0.20",
        clusterIPs=["10.96.0.20", "fd00:96::20"],
        ports=[port("http", 80), port("https", 443), port("dns", 53, "UDP")],
    ),
    service("bare", "10.96.0.21"),
    service("six", "fd00:96::21", ports=[port("http", 80)]),
    {**service("leaving", "10.96.0.22"), "metadata": {
        "name": "leaving", "namespace": "default", "deletionTimestamp": "2026-01-01T00:00:00Z",
    }},
    headless("db", ports=_SQL),
    slice_of("db", "db-a", [
        endpoint("10.244.1.1", "db-0"),
        endpoint("10.244.1.2", "db-1"),
        endpoint("10.244.1.3", ready=None),
        endpoint("10.244.1.4", "db-4", ready=False),
    ], ports=_SQL),
    slice_of("db", "db-b", [
        endpoint("fd00:244::1", "db-0"), endpoint("fd00:244::3"),
    ], ports=_SQL),
    slice_of("db", "db-copy", [endpoint("10.244.1.1", "db-0")], ports=_SQL),
    headless("waiting", ports=[port("sql", 5432)]),
    slice_of("waiting", "waiting-a", [endpoint("10.244.1.9", "w-0", ready=False)], ports=_SQL),
    headless("early", publishNotReadyAddresses=True),
    slice_of("early", "early-a", [endpoint("10.244.1.10", "early-0", ready=False)]),
    headless("portless", ports=[]),
    slice_of("portless", "portless-a", [endpoint("10.244.1.11")], ports=[]),
    service("stateful", "10.96.0.23", ports=[port("http", 80)]),
    slice_of("stateful", "stateful-a", [endpoint("10.244.1.12", "s-0"), endpoint("10.244.1.13")]),
    external("outside", "www.example.com"),
    external("inside", "web.default.svc.cluster.local."),
    external("twice", "inside.default.svc.cluster.local"),
    external("nowhere", "missing.default.svc.cluster.local"),
    external("looks-like-one", "192.0.2.1"),
    external("here", "there.default.svc.cluster.local"),
    external("there", "here.default.svc.cluster.local"),
    pod("client", ["10.244.2.5", "fd00:244:2::5"]),
    pod("finished", ["10.244.2.6"], phase="Succeeded"),
)  # fmt: skip


def filled(
    objects: Iterable[Object] = OBJECTS,
    settings: ZoneSettings = SETTINGS,
    *,
    turn: float = 0.0,
    is_ready: bool = True,
) -> Responder:
    """A responder that has heard of these objects.

    Args:
        objects: In this order.
        settings: The zone's.
        turn: What its dice show, from 0 up to 1.
        is_ready: Whether they are all.
    """
    responder = Responder(Zone(settings), lambda: turn, is_ready=is_ready)
    for each in objects:
        put(responder, each)
    return responder


def put(responder: Responder, obj: Object) -> None:
    """Tell it of an object."""
    responder.change(BY_KIND[obj["apiVersion"], obj["kind"]], key_of(obj), obj)


def drop(responder: Responder, obj: Object) -> None:
    """Tell it that an object is gone."""
    responder.change(BY_KIND[obj["apiVersion"], obj["kind"]], key_of(obj), None)
