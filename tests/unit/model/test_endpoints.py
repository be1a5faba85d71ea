"""EndpointSlices and legacy Endpoints, and exactly what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.parse import parse_object
from tests.unit.model.manifests import complaints, endpoint_slice, endpoints, only

WEB = ServiceKey("default", "web")
POD = IPAddress("10.1.0.1")


def _endpoint(**fields: Any) -> Endpoint:
    found = only(endpoint_slice({"addresses": [POD]} | fields))
    assert isinstance(found, EndpointSlice)
    assert len(found.endpoints) == 1
    return found.endpoints[0]


def test_a_slice() -> None:
    raw = endpoint_slice(
        {"addresses": ["10.1.0.1", "10.1.0.2"], "nodeName": "node-a"},
        {"addresses": ["10.1.0.3"]},
    )
    assert only(raw) == EndpointSlice(
        WEB,
        "web-1",
        Family.IPV4,
        (SlicePort("http", "TCP", 8080),),
        (Endpoint(POD, "node-a"), Endpoint(IPAddress("10.1.0.3"))),
    )


def test_a_slice_of_the_other_family_in_another_namespace() -> None:
    raw = endpoint_slice(
        {"addresses": ["FD00:1::01"]},
        addressType="IPv6",
        metadata={
            "name": "web.v6",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "web"},
        },
        ports=[{"port": 53, "protocol": "UDP"}, {"name": "sip", "port": 5060, "protocol": "SCTP"}],
    )
    assert only(raw) == EndpointSlice(
        ServiceKey("shop", "web"),
        "web.v6",
        Family.IPV6,
        (SlicePort("", "UDP", 53), SlicePort("sip", "SCTP", 5060)),
        (Endpoint(IPAddress("fd00:1::1")),),
    )


@pytest.mark.parametrize("nothing", [{"endpoints": None, "ports": None}, {"endpoints": []}])
def test_a_slice_without_endpoints_is_one(nothing: dict[str, Any]) -> None:
    found = only(endpoint_slice(**nothing))
    assert found.endpoints == ()
    assert len(found.ports) == (0 if "ports" in nothing else 1)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": None, "serving": None, "terminating": None}, (True, True, False)),
        ({"ready": False}, (False, True, False)),
        ({"ready": False, "serving": False, "terminating": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
        ({"ready": True, "serving": False}, (True, False, False)),
        ({"terminating": True}, (True, True, True)),
    ],
)
def test_conditions(conditions: object, expected: tuple[bool, bool, bool]) -> None:
    found = _endpoint(conditions=conditions)
    assert (found.ready, found.serving, found.terminating) == expected


@pytest.mark.parametrize(
    ("hints", "zones", "nodes"),
    [
        (None, set(), set()),
        ({}, set(), set()),
        ({"forZones": [{"name": "z1"}, {"name": "z2"}]}, {"z1", "z2"}, set()),
        ({"forNodes": [{"name": "n1"}], "forZones": None}, set(), {"n1"}),
        ({"forZones": [], "forNodes": []}, set(), set()),
        ({"forZones": [{}, {"name": ""}, {"name": "z1"}]}, {"", "z1"}, set()),
    ],
)
def test_hints(hints: object, zones: set[str], nodes: set[str]) -> None:
    found = _endpoint(hints=hints)
    assert (set(found.zone_hints), set(found.node_hints)) == (zones, nodes)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            endpoint_slice(metadata={"name": "stray"}),
            "warning: EndpointSlice default/stray: metadata.labels: the label "
            "kubernetes.io/service-name is missing, so the slice belongs to no Service",
        ),
        (
            endpoint_slice({"addresses": ["db.example"]}, addressType="FQDN"),
            "warning: EndpointSlice default/web-1: addressType: FQDN slices are not proxied: "
            "only addresses can be",
        ),
        (
            endpoint_slice(addressType="ipv4"),
            "error: EndpointSlice default/web-1: addressType: must be IPv4 or IPv6",
        ),
        (
            endpoint_slice(addressType=None),
            "error: EndpointSlice default/web-1: addressType: must be IPv4 or IPv6",
        ),
        (
            endpoint_slice(metadata={"name": "Web"}),
            "error: EndpointSlice default/Web: metadata.name: 'Web' is no DNS name; "
            "use at most 253 lower-case letters, digits, '-' and '.'",
        ),
        (
            endpoint_slice({"addresses": "10.1.0.1"}),
            "error: EndpointSlice default/web-1: endpoints[0].addresses: must be a list, not text",
        ),
    ],
)
def test_slices_that_are_not_used(raw: dict[str, Any], expected: str) -> None:
    assert parse_object(raw).objects == ()
    assert complaints(raw) == [expected]


SPECIAL = "is a loopback, link-local or unspecified address"


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({}, "endpoints[0].addresses: is empty; an endpoint has an address"),
        ({"addresses": []}, "endpoints[0].addresses: is empty; an endpoint has an address"),
        (
            {"addresses": ["x"]},
            "endpoints[0].addresses[0]: 'x' is not an IP address; "
            "give one such as 10.0.0.1 or fd00::1",
        ),
        (
            {"addresses": ["fd00::1"]},
            "endpoints[0].addresses[0]: fd00::1 is not of addressType IPv4",
        ),
        *(
            ({"addresses": [address]}, f"endpoints[0].addresses[0]: {address} {SPECIAL}")
            for address in ("0.0.0.0", "127.0.0.1", "127.9.9.9", "169.254.1.1", "::1", "::")
        ),
        ({"addresses": ["fe80::1"]}, f"endpoints[0].addresses[0]: fe80::1 {SPECIAL}"),
    ],
)
def test_only_the_bad_endpoint_is_lost(bad: dict[str, Any], expected: str) -> None:
    raw = endpoint_slice(bad, {"addresses": [POD]})
    parsed = parse_object(raw)
    assert [obj.endpoints for obj in parsed.objects if isinstance(obj, EndpointSlice)] == [
        (Endpoint(POD),)
    ]
    assert complaints(raw) == [f"error: EndpointSlice default/web-1: {expected}"]


@pytest.mark.parametrize("address", ["fe90::1", "febf::1"])
def test_all_of_the_link_local_network_is_refused(address: str) -> None:
    raw = endpoint_slice({"addresses": [address]}, addressType="IPv6")
    assert complaints(raw) == [
        f"error: EndpointSlice default/web-1: endpoints[0].addresses[0]: {address} {SPECIAL}"
    ]


@pytest.mark.parametrize("address", ["128.0.0.1", "126.255.255.255", "169.253.1.1", "169.255.0.1"])
def test_neighbours_of_special_networks_are_ordinary(address: str) -> None:
    assert only(endpoint_slice({"addresses": [address]})).endpoints[0].address == address


def test_names_of_slices_may_be_long() -> None:
    def named(length: int) -> dict[str, Any]:
        labels = {"kubernetes.io/service-name": "web"}
        return endpoint_slice(metadata={"name": "n" * length, "labels": labels})

    assert only(named(253)).name == "n" * 253
    assert [d.field for d in parse_object(named(254)).diagnostics] == ["metadata.name"]


def test_ports_without_number_are_no_ports() -> None:
    raw = endpoint_slice(ports=[{"name": "a", "port": None}, {"name": "b"}])
    (found,) = parse_object(raw).objects
    assert isinstance(found, EndpointSlice)
    assert found.ports == ()
    assert complaints(raw) == [
        f"warning: EndpointSlice default/web-1: ports[{index}].port: is not set, so no Service "
        "port leads there"
        for index in range(2)
    ]


@pytest.mark.parametrize(
    ("bad", "expected", "is_kept"),
    [
        ({"port": 70000}, "ports[0].port: 70000 is no port number", False),
        ({"port": 0}, "ports[0].port: 0 is no port number", False),
        ({"port": 80, "protocol": "tcp"}, "ports[0].protocol: 'tcp' is not supported", True),
        ({"port": 80, "name": "A"}, "ports[0].name: 'A' is no DNS label", True),
    ],
)
def test_bad_slice_ports(bad: dict[str, Any], expected: str, is_kept: bool) -> None:
    raw = endpoint_slice(ports=[bad, {"name": "good", "port": 81}])
    (found,) = parse_object(raw).objects
    assert isinstance(found, EndpointSlice)
    assert found.ports[-1] == SlicePort("good", "TCP", 81)
    assert len(found.ports) == 1 + is_kept
    (said,) = complaints(raw)
    assert said.startswith(f"error: EndpointSlice default/web-1: {expected}")


def test_legacy_endpoints_become_a_slice_per_subset_and_family() -> None:
    raw = endpoints(
        {
            "addresses": [{"ip": "10.1.0.1", "nodeName": "node-a"}, {"ip": "fd00:1::1"}],
            "notReadyAddresses": [{"ip": "10.1.0.2"}],
            "ports": [{"name": "http", "port": 8080}],
        },
        {"addresses": [{"ip": "fd00:1::3"}], "ports": [{"port": 53, "protocol": "UDP"}]},
        {"ports": [{"port": 1}]},
    )
    http, dns = (SlicePort("http", "TCP", 8080),), (SlicePort("", "UDP", 53),)
    late = Endpoint(IPAddress("10.1.0.2"), ready=False, serving=False)
    parsed = parse_object(raw)
    assert parsed.diagnostics == ()
    assert parsed.objects == (
        EndpointSlice(
            WEB, "endpoints:web:0:IPv4", Family.IPV4, http, (Endpoint(POD, "node-a"), late), True
        ),
        EndpointSlice(
            WEB,
            "endpoints:web:0:IPv6",
            Family.IPV6,
            http,
            (Endpoint(IPAddress("fd00:1::1")),),
            True,
        ),
        EndpointSlice(
            WEB,
            "endpoints:web:1:IPv6",
            Family.IPV6,
            dns,
            (Endpoint(IPAddress("fd00:1::3")),),
            True,
        ),
    )
    assert parsed.subjects == ("Endpoints default/web",) * 3


def test_legacy_endpoints_without_any() -> None:
    assert parse_object(endpoints()) == ((), (), ())
    assert parse_object({**endpoints(), "subsets": None}) == ((), (), ())


def test_bad_legacy_addresses_are_lost_alone() -> None:
    raw = endpoints(
        {"addresses": [{"ip": "x"}, {}, {"ip": POD}], "ports": [{"port": 1}]},
        {"notReadyAddresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 70000}]},
    )
    parsed = parse_object(raw)
    assert [o.endpoints for o in parsed.objects if isinstance(o, EndpointSlice)] == [
        (Endpoint(POD),)
    ]
    assert [d.field for d in parsed.diagnostics] == [
        "subsets[0].addresses[0].ip",
        "subsets[0].addresses[1].ip",
        "subsets[1].ports[0].port",
        "subsets[1].notReadyAddresses[0].ip",
    ]


def test_a_label_that_names_no_service() -> None:
    labels = {"kubernetes.io/service-name": "web; flush"}
    raw = endpoint_slice({"addresses": [POD]}, metadata={"name": "web-1", "labels": labels})
    assert parse_object(raw).objects == ()
    (complaint,) = complaints(raw)
    assert "metadata.labels: 'web; flush' is no DNS label" in complaint
