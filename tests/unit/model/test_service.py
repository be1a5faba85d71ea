"""Services that are right, and exactly what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.model.ip import parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.parse import parse_object
from netproxy.model.service import IgnoredService, Service, ServicePort, TrafficPolicy
from tests.unit.model.manifests import complaints, only, service

PLAIN = Service(ServiceKey("default", "web"), (ServicePort("", "TCP", 80),), ("10.96.0.1",))  # type: ignore[arg-type]


def _with(**fields: Any) -> Service:
    return PLAIN._replace(**fields)


TWO_PORTS = [
    {"name": "http", "port": 80, "targetPort": "http"},
    {"name": "dns", "port": 80, "protocol": "UDP", "targetPort": 5353},
]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(service(), PLAIN, id="every default"),
        pytest.param(
            service(
                {
                    "type": "",
                    "sessionAffinity": "",
                    "internalTrafficPolicy": "",
                    "externalTrafficPolicy": "",
                    "ports": [{"port": 80, "protocol": "", "name": "", "nodePort": 0}],
                }
            ),
            PLAIN,
            id="empty text counts as absent",
        ),
        pytest.param(
            {**service(), "status": None, "extra": {"anything": [1]}},
            PLAIN,
            id="null counts as absent, unknown fields do not count",
        ),
        pytest.param(
            service(namespace="shop", creationTimestamp="2026-01-01T00:00:00Z"),
            _with(key=ServiceKey("shop", "web"), creation_timestamp="2026-01-01T00:00:00Z"),
            id="metadata",
        ),
        pytest.param(
            service(namespace="", name="0digit-first"),
            _with(key=ServiceKey("default", "0digit-first")),
            id="empty namespace, name that begins with a digit",
        ),
        pytest.param(
            service({"ports": TWO_PORTS}),
            _with(ports=(ServicePort("http", "TCP", 80), ServicePort("dns", "UDP", 80))),
            id="one number for two protocols",
        ),
        pytest.param(
            service({"ports": [{"port": 1, "protocol": "SCTP"}]}),
            _with(ports=(ServicePort("", "SCTP", 1),)),
            id="SCTP, smallest port",
        ),
        pytest.param(
            service({"ports": [{"port": 65535, "targetPort": 65535}]}),
            _with(ports=(ServicePort("", "TCP", 65535),)),
            id="largest port",
        ),
        pytest.param(
            service({"clusterIPs": ["10.96.0.1", "fd00::1"]}),
            _with(cluster_ips=("10.96.0.1", "fd00::1")),
            id="dual stack",
        ),
        pytest.param(
            service({"clusterIP": None, "clusterIPs": ["FD00::01", "10.96.0.1"]}),
            _with(cluster_ips=("fd00::1", "10.96.0.1")),
            id="dual stack, IPv6 first and not canonical",
        ),
        pytest.param(
            service({"externalIPs": ["192.0.2.1", "2001:db8::1"]}),
            _with(external_ips=("192.0.2.1", "2001:db8::1")),
            id="external addresses of both families",
        ),
        pytest.param(
            service({"externalIPs": ["192.0.2.1"], "externalTrafficPolicy": "Local"}),
            _with(external_ips=("192.0.2.1",), external_policy=TrafficPolicy.LOCAL),
            id="an external address makes the external policy count",
        ),
        pytest.param(
            service({"externalTrafficPolicy": "Local"}),
            PLAIN,
            id="external policy of what has no outside",
        ),
        pytest.param(
            service({"internalTrafficPolicy": "Local"}),
            _with(internal_policy=TrafficPolicy.LOCAL),
            id="internal policy",
        ),
        pytest.param(
            service({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}),
            _with(type="NodePort", ports=(ServicePort("", "TCP", 80, 30080),)),
            id="node port",
        ),
        pytest.param(
            service(
                {
                    "type": "NodePort",
                    "externalTrafficPolicy": "Local",
                    "ports": [{"port": 80, "nodePort": 30080}],
                }
            ),
            _with(
                type="NodePort",
                external_policy=TrafficPolicy.LOCAL,
                ports=(ServicePort("", "TCP", 80, 30080),),
            ),
            id="NodePort, Local",
        ),
        pytest.param(
            service({"sessionAffinity": "ClientIP"}),
            _with(affinity_timeout_s=10800),
            id="affinity for three hours",
        ),
        pytest.param(
            service(
                {
                    "sessionAffinity": "ClientIP",
                    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86400}},
                }
            ),
            _with(affinity_timeout_s=86400),
            id="longest affinity",
        ),
        pytest.param(
            service({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}}}),
            PLAIN,
            id="timeout without affinity",
        ),
    ],
)
def test_service(raw: dict[str, Any], expected: Service) -> None:
    assert only(raw) == expected


@pytest.mark.parametrize(
    ("spec", "ingress", "fields"),
    [
        ({}, [], {}),
        ({}, [{"ip": "192.0.2.9"}], {"load_balancer_ips": ("192.0.2.9",)}),
        ({}, [{"ip": "192.0.2.9", "ipMode": "VIP"}], {"load_balancer_ips": ("192.0.2.9",)}),
        ({}, [{"ip": "192.0.2.9", "ipMode": "Proxy"}], {}),
        ({}, [{"hostname": "lb.example"}], {}),
        (
            {},
            [{"hostname": "lb"}, {"ip": "2001:db8::9"}, {"ip": "192.0.2.9"}],
            {"load_balancer_ips": ("2001:db8::9", "192.0.2.9")},
        ),
        (
            {"loadBalancerSourceRanges": [" 10.0.0.0/8 ", "fd00::1/8"]},
            [],
            {"source_ranges": (parse_prefix("10.0.0.0/8"), parse_prefix("fd00::/8"))},
        ),
        (
            {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000},
            [],
            {"external_policy": TrafficPolicy.LOCAL, "health_check_node_port": 32000},
        ),
        ({"healthCheckNodePort": 0}, [], {}),
    ],
)
def test_load_balancer(spec: dict[str, Any], ingress: list[Any], fields: dict[str, Any]) -> None:
    raw = service({"type": "LoadBalancer"} | spec, ingress=ingress)
    assert only(raw) == _with(type="LoadBalancer", **fields)


LOCAL = {"externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
NODE_PORT = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}


@pytest.mark.parametrize(
    ("raw", "expected", "field"),
    [
        (
            service({"ports": [{"port": 80, "nodePort": 30080}]}),
            PLAIN,
            "spec.ports[0].nodePort",
        ),
        (
            service({"loadBalancerSourceRanges": ["nonsense"]}),
            PLAIN,
            "spec.loadBalancerSourceRanges",
        ),
        (service(ingress=[{"ip": "nonsense"}]), PLAIN, "status.loadBalancer.ingress"),
        (
            service({"type": "LoadBalancer", "healthCheckNodePort": 32000}),
            _with(type="LoadBalancer"),
            "spec.healthCheckNodePort",
        ),
        (
            service(NODE_PORT | LOCAL),
            _with(
                type="NodePort",
                external_policy=TrafficPolicy.LOCAL,
                ports=(ServicePort("", "TCP", 80, 30080),),
            ),
            "spec.healthCheckNodePort",
        ),
    ],
    ids=["node port", "source ranges", "ingress", "policy Cluster", "NodePort"],
)
def test_what_does_not_fit_the_type_means_nothing_and_is_said(
    raw: dict[str, Any], expected: Service, field: str
) -> None:
    (found,) = parse_object(raw).objects
    assert found == expected
    (said,) = complaints(raw)
    assert said.startswith(f"warning: Service default/web: {field}: means nothing ")


def test_a_node_port_that_nobody_allocated() -> None:
    raw = service({"type": "NodePort"})
    assert complaints(raw) == [
        "warning: Service default/web: spec.ports[0].nodePort: is not set, so nodes do not answer "
        "for this port; without an API server nobody allocates one: give it one, usually between "
        "30000 and 32767"
    ]
    (found,) = parse_object(raw).objects
    assert found == _with(type="NodePort")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z"),
        (None, ""),
        ("", ""),
    ],
)
def test_times_compare_as_text(given: str | None, expected: str) -> None:
    assert only(service(creationTimestamp=given)).creation_timestamp == expected


@pytest.mark.parametrize(
    "given", ["yesterday", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+02:00"]
)
def test_what_is_no_time(given: str) -> None:
    raw = service(creationTimestamp=given)
    assert complaints(raw) == [
        f"warning: Service default/web: metadata.creationTimestamp: {given!r} is no time such as "
        "2026-01-01T00:00:00Z; taken as unknown"
    ]
    assert len(parse_object(raw).objects) == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"ipFamilies": ["IPv4"]},
        {"ipFamilies": ["IPv4", "IPv6"]},
        {"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]},
    ],
)
def test_families_that_fit(spec: dict[str, Any]) -> None:
    only(service(spec))


PROXY_NAME = "service.kubernetes.io/service-proxy-name"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (service({"clusterIP": "None"}), "it is headless"),
        (service({"clusterIP": "None", "ports": None}), "it is headless"),
        (service({"clusterIP": None, "clusterIPs": ["None"]}), "it is headless"),
        (service({"type": "ExternalName", "ports": None}), "its type is ExternalName"),
        (
            service(labels={PROXY_NAME: ""}),
            f"its label {PROXY_NAME} gives it to another proxy",
        ),
    ],
)
def test_services_of_no_concern_displace_what_they_were(raw: dict[str, Any], reason: str) -> None:
    assert only(raw) == IgnoredService(ServiceKey("default", "web"), reason)


def test_headless_is_written_so_and_not_otherwise() -> None:
    assert complaints(service({"clusterIP": "none"})) == [
        "error: Service default/web: spec.clusterIP: 'none' is not an IP address; "
        "give one such as 10.0.0.1 or fd00::1"
    ]


def test_a_service_without_address_is_used_with_a_warning() -> None:
    parsed = parse_object(service({"clusterIP": None}))
    assert parsed.objects == (_with(cluster_ips=()),)
    assert [str(d) for d in parsed.diagnostics] == [
        "Service default/web: spec.clusterIP: is not set, so this Service has no address of its "
        "own; without an API server nobody allocates one: give it one from your service range"
    ]


@pytest.mark.parametrize(
    ("text", "read", "warning"),
    [
        ("010.96.0.001", "10.96.0.1", "'010.96.0.001' has leading zeros; read as 10.96.0.1"),
        (
            "::ffff:10.96.0.1",
            "10.96.0.1",
            "'::ffff:10.96.0.1' is an IPv4-mapped IPv6 address; read as 10.96.0.1",
        ),
    ],
)
def test_sloppy_addresses_are_used_with_a_warning(text: str, read: str, warning: str) -> None:
    raw = service({"clusterIP": text})
    parsed = parse_object(raw)
    assert parsed.objects == (_with(cluster_ips=(read,)),)
    assert complaints(raw) == [f"warning: Service default/web: spec.clusterIP: {warning}"]
