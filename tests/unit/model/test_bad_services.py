"""Services that are wrong: none is used, and the message names object and field."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.model.parse import parse_object
from tests.unit.model.manifests import complaints, endpoint_slice, node, service

LABEL_HELP = (
    "is no DNS label; use at most 63 lower-case letters, digits and '-', "
    "with a letter or digit at both ends"
)
NAME_HELP = "is no DNS name; use at most 253 lower-case letters, digits, '-' and '.'"
ADDRESS_HELP = "give one such as 10.0.0.1 or fd00::1"
PORT_HELP = "is no port number; it must be between 1 and 65535"


def _port(**fields: Any) -> dict[str, Any]:
    return service({"ports": [{"port": 80} | fields]})


def _named(*ports: dict[str, Any]) -> dict[str, Any]:
    return service({"type": "LoadBalancer", "ports": list(ports)})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # Wrong types.
        (
            service({"ports": [{"port": "80"}]}),
            "spec.ports[0].port: must be a whole number, not text; write digits without quotes",
        ),
        (
            service({"ports": [{"port": True}]}),
            "spec.ports[0].port: must be a whole number, not true or false",
        ),
        (
            service({"ports": [{"port": 80.5}]}),
            "spec.ports[0].port: must be a whole number, not a fraction",
        ),
        (service({"ports": {"port": 80}}), "spec.ports: must be a list, not a mapping"),
        (service({"ports": ["http"]}), "spec.ports[0]: must be a mapping, not text"),
        (
            service({"clusterIP": 10}),
            "spec.clusterIP: must be text, not a whole number; put it in quotes",
        ),
        (service({"externalIPs": "x"}), "spec.externalIPs: must be a list, not text"),
        (service() | {"spec": []}, "spec: must be a mapping, not a list"),
        (service() | {"metadata": "web"}, "metadata: must be a mapping, not text"),
        (service(name=3), "metadata.name: must be text, not a whole number; put it in quotes"),
        # Names.
        (service(name=""), "metadata.name: is missing; every object has a name"),
        (service(name=None), "metadata.name: is missing; every object has a name"),
        (service(name="Web"), f"metadata.name: 'Web' {LABEL_HELP}"),
        (service(name="web.shop"), f"metadata.name: 'web.shop' {LABEL_HELP}"),
        (service(name="web-"), f"metadata.name: 'web-' {LABEL_HELP}"),
        (service(name="web\n"), f"metadata.name: 'web\\n' {LABEL_HELP}"),
        (service(name="w" * 64), f"metadata.name: '{'w' * 56}... {LABEL_HELP}"),
        (service(namespace="a_b"), f"metadata.namespace: 'a_b' {LABEL_HELP}"),
        (_port(name="HTTP"), f"spec.ports[0].name: 'HTTP' {LABEL_HELP}"),
        # Ports.
        (service({"ports": []}), "spec.ports: is empty; a Service has at least one port"),
        (service({"ports": None}), "spec.ports: is empty; a Service has at least one port"),
        (
            service({"ports": [{}]}),
            "spec.ports[0].port: is missing; a port number between 1 and 65535 is needed",
        ),
        (_port(port=0), f"spec.ports[0].port: 0 {PORT_HELP}"),
        (_port(port=70000), f"spec.ports[0].port: 70000 {PORT_HELP}"),
        (_port(port=65536), f"spec.ports[0].port: 65536 {PORT_HELP}"),
        (_port(port=-1), f"spec.ports[0].port: -1 {PORT_HELP}"),
        (_port(nodePort=65536), f"spec.ports[0].nodePort: 65536 {PORT_HELP}"),
        (_port(nodePort=-30080), f"spec.ports[0].nodePort: -30080 {PORT_HELP}"),
        (_port(targetPort=70000), f"spec.ports[0].targetPort: 70000 {PORT_HELP}"),
        (
            _port(targetPort="8080"),
            "spec.ports[0].targetPort: '8080' is neither a port number nor a port's name; "
            "names have at most 15 letters, digits and '-'",
        ),
        (
            _port(targetPort="sixteen-letters-"),
            "spec.ports[0].targetPort: 'sixteen-letters-' is neither a port number nor a port's "
            "name; names have at most 15 letters, digits and '-'",
        ),
        (
            _port(protocol="tcp"),
            "spec.ports[0].protocol: 'tcp' is not supported; use TCP, UDP or SCTP",
        ),
        (
            _port(protocol="ICMP"),
            "spec.ports[0].protocol: 'ICMP' is not supported; use TCP, UDP or SCTP",
        ),
        (
            _named({"name": "a", "port": 80}, {"port": 81}),
            "spec.ports[1].name: is missing; several ports need a name each",
        ),
        (
            _named({"name": "a", "port": 80}, {"name": "a", "port": 81}),
            "spec.ports[1].name: 'a' is the name of an earlier port, too",
        ),
        (
            _named({"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "TCP"}),
            "spec.ports[1].port: 80/TCP is an earlier port, too",
        ),
        (
            _named(
                {"name": "a", "port": 80, "nodePort": 30080},
                {"name": "b", "port": 81, "nodePort": 30080},
            ),
            "spec.ports[1].nodePort: 30080/TCP is an earlier port's, too",
        ),
        # Addresses.
        (
            service({"clusterIP": "10.96.0.256"}),
            f"spec.clusterIP: '10.96.0.256' is not an IP address: 256 is above 255; {ADDRESS_HELP}",
        ),
        (
            service({"clusterIP": "10.96.0.1/32"}),
            f"spec.clusterIP: '10.96.0.1/32' is not an IP address; {ADDRESS_HELP}",
        ),
        (
            service({"clusterIPs": ["10.96.0.1", "10.96.0.2"]}),
            "spec.clusterIPs: at most one address per IP family",
        ),
        (
            service({"clusterIPs": ["10.96.0.2"]}),
            "spec.clusterIP: differs from the first of spec.clusterIPs",
        ),
        *(
            (
                service({"clusterIP": address}),
                f"spec.clusterIP: {address} is a loopback or unspecified address",
            )
            for address in ("0.0.0.0", "127.0.0.1", "::", "::1")
        ),
        *(
            (
                service({"externalIPs": ["192.0.2.1", address]}),
                f"spec.externalIPs[1]: {address} is a loopback, link-local or unspecified address",
            )
            for address in (
                "0.0.0.0",
                "127.9.0.1",
                "169.254.1.1",
                "224.0.0.1",
                "fe80::1",
                "ff02::1",
            )
        ),
        (
            service({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: IPv6 is not the family of the cluster IP 10.96.0.1",
        ),
        (
            service({"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv4"]}),
            "spec.ipFamilies[1]: IPv4 is named already",
        ),
        (
            service({"ipFamilies": ["ipv4"]}),
            "spec.ipFamilies[0]: 'ipv4' is unknown; use IPv4 or IPv6",
        ),
        (
            service({"clusterIPs": ["10.96.0.1", "x"]}),
            f"spec.clusterIPs[1]: 'x' is not an IP address; {ADDRESS_HELP}",
        ),
        (
            service({"externalIPs": ["192.0.2.1", "fd00::1::2"]}),
            f"spec.externalIPs[1]: 'fd00::1::2' is not an IP address; {ADDRESS_HELP}",
        ),
        (
            service({"type": "LoadBalancer"}, ingress=[{"ip": "192.0.2"}]),
            f"status.loadBalancer.ingress[0].ip: '192.0.2' is not an IP address; {ADDRESS_HELP}",
        ),
        (
            service({"type": "LoadBalancer"}, ingress=[{"ip": "192.0.2.1", "ipMode": "vip"}]),
            "status.loadBalancer.ingress[0].ipMode: 'vip' is unknown; use VIP or Proxy",
        ),
        (
            service({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "any"]}),
            "spec.loadBalancerSourceRanges[1]: 'any' is not a prefix such as 10.0.0.0/8",
        ),
        # Words and numbers.
        (
            service({"type": "Clusterip"}),
            "spec.type: 'Clusterip' is unknown; "
            "use ClusterIP, NodePort, LoadBalancer or ExternalName",
        ),
        (
            service({"internalTrafficPolicy": "local"}),
            "spec.internalTrafficPolicy: 'local' is unknown; use Cluster or Local",
        ),
        (
            service({"externalTrafficPolicy": "Global"}),
            "spec.externalTrafficPolicy: 'Global' is unknown; use Cluster or Local",
        ),
        (
            service({"sessionAffinity": "clientIP"}),
            "spec.sessionAffinity: 'clientIP' is unknown; use None or ClientIP",
        ),
        *(
            (
                service(
                    {
                        "sessionAffinity": "ClientIP",
                        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
                    }
                ),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: "
                f"{seconds} is not between 1 and 86400 seconds",
            )
            for seconds in (0, -1, 86401)
        ),
        (
            service({"type": "LoadBalancer", "healthCheckNodePort": 70000}),
            f"spec.healthCheckNodePort: 70000 {PORT_HELP}",
        ),
    ],
)
def test_one_mistake_one_message_and_no_service(raw: dict[str, Any], expected: str) -> None:
    parsed = parse_object(raw)
    assert parsed.objects == ()
    assert parsed.subjects == ()
    messages = [str(d).partition(": ")[2] for d in parsed.diagnostics]
    assert messages == [expected]


def test_every_mistake_is_found_at_once() -> None:
    raw = service(
        {
            "type": "Nodeport",
            "clusterIP": "x",
            "ports": [{"port": 0}, {"name": "A", "port": 1, "protocol": "X"}],
        },
    )
    fields = [d.field for d in parse_object(raw).diagnostics]
    assert fields == [
        "spec.type",
        "spec.ports[0].name",
        "spec.ports[0].port",
        "spec.ports[1].name",
        "spec.ports[1].protocol",
        "spec.clusterIP",
    ]


def test_a_subject_shows_where_the_object_is() -> None:
    assert complaints(service({"ports": [{"port": 0}]}, name="api", namespace="shop")) == [
        f"error: Service shop/api: spec.ports[0].port: 0 {PORT_HELP}"
    ]
    assert complaints(node({"podCIDR": "x"})) == [
        "error: Node node-a: spec.podCIDRs[0]: 'x' is not a prefix such as 10.0.0.0/8"
    ]
    assert complaints({"apiVersion": "v1", "kind": "Service"}) == [
        "error: Service: metadata.name: is missing; every object has a name"
    ]


BREAKING = [
    'web" drop comment "',
    "web; flush ruleset",
    "web }\ndelete table ip netproxy",
    "web\x1b[2J",
    "web\u2028drop",
    "../web",
    "-web",
    "wéb",
    "web*",
    "web\0",
    "@map",
]


@pytest.mark.parametrize("text", BREAKING)
@pytest.mark.parametrize("place", ["name", "namespace", "port", "slice", "slice port"])
def test_no_name_breaks_out_of_the_rules_or_of_the_message(text: str, place: str) -> None:
    raw: dict[str, Any] = {
        "name": service(name=text),
        "namespace": service(namespace=text),
        "port": _port(name=text),
        "slice": endpoint_slice(
            metadata={"name": text, "labels": {"kubernetes.io/service-name": "web"}}
        ),
        "slice port": endpoint_slice(ports=[{"name": text, "port": 1}]),
    }[place]
    parsed = parse_object(raw)
    assert len(parsed.diagnostics) == 1
    message = str(parsed.diagnostics[0])
    assert message.isprintable()
    assert "is no DNS " in message
    if place != "slice port":
        assert parsed.objects == ()


def test_long_names_do_not_make_long_messages() -> None:
    message = complaints(service(name="n" * 100_000))[0]
    assert len(message) < 500


@pytest.mark.parametrize("field", ["clusterIP", "loadBalancerSourceRanges"])
def test_long_addresses_do_not_make_long_messages(field: str) -> None:
    value: Any = "1" * 100_000
    spec = {"type": "LoadBalancer", field: value if field == "clusterIP" else [value]}
    message = complaints(service(spec))[0]
    assert len(message) < 400


def test_a_key_that_is_no_text() -> None:
    found = parse_object(service(labels={1: "x"})).diagnostics  # type: ignore[dict-item]
    assert [d.field for d in found] == ["metadata.labels"]


@pytest.mark.parametrize("raw", [service() | {"\ud800": 1}, service({"\ud800": 1})])
def test_keys_of_half_characters_are_legal_json(raw: dict[str, Any]) -> None:
    parse_object(raw)


@pytest.mark.parametrize("raw", [_port(port=16**4000), [16**4000]], ids=["field", "document"])
def test_numbers_of_thousands_of_digits(raw: object) -> None:
    assert len(parse_object(raw).diagnostics) == 1
