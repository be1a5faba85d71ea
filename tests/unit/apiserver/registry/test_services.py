"""Services: what they get, what they may say, how they change. Wording: Kubernetes 1.36.2."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.api.objects import Key
from netproxy.api.resources import IP_ADDRESSES, SERVICES
from netproxy.api.status import StatusError
from netproxy.apiserver.registry import PortRange, RegistrySettings
from tests.unit.apiserver.recorded import exchanges
from tests.unit.apiserver.registry.world import World

_DUAL = ("10.0.0.0/16", "fd00:10::/112")


def _refused(world: World, **spec: Any) -> StatusError:
    before = dict(world.objects)
    with pytest.raises(StatusError) as caught:
        world.service(**spec)
    assert world.objects == before
    return caught.value


def test_a_service_says_everything_that_follows_from_what_it_says() -> None:
    spec = World().service(ports=[{"port": 80}], selector={"app": "web"})["spec"]
    ip = spec["clusterIP"]
    assert spec == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "web"},
        "clusterIP": ip,
        "clusterIPs": [ip],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }


def test_what_kubectl_sent_a_real_server_becomes_what_that_answered() -> None:
    """Every Service that was created or replaced in the recording, with its own address."""
    compared = 0
    for each in exchanges():
        request, response = each["request"], each["response"]
        sent, answered = request["body"], response["body"]
        is_create = request["method"] == "POST" and response["status"] == 201
        if not is_create or not isinstance(sent, dict) or sent.get("kind") != "Service":
            continue
        world = World("172.30.0.0/16")
        wanted = answered["spec"]
        given = {**sent["spec"], "clusterIP": wanted.get("clusterIP")}
        made = world.service(sent["metadata"]["name"], **given)
        assert made["spec"] == wanted
        assert made["status"] == answered["status"]
        compared += 1
    assert compared >= 3


def test_addresses_come_from_the_upper_band_and_have_objects() -> None:
    world = World("10.0.0.0/24")
    made = [world.service(f"s{n}")["spec"]["clusterIP"] for n in range(200)]
    assert len(set(made)) == 200
    assert all(17 <= int(each.rsplit(".", 1)[1]) <= 254 for each in made)
    address = world.get(IP_ADDRESSES, Key("", made[0]))
    assert address is not None
    assert address["spec"] == {
        "parentRef": {"resource": "services", "namespace": "default", "name": "s0"}
    }
    assert address["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }


def test_a_full_range_is_full_and_what_is_deleted_is_free() -> None:
    world = World("10.0.0.0/28")
    for n in range(13):
        world.service(f"s{n}")
    error = _refused(world, name="more")
    assert (error.code, "range is full" in error.message) == (500, True)
    freed = world.delete(SERVICES, "s5", "default")["spec"]["clusterIP"]
    assert world.service("more")["spec"]["clusterIP"] == freed


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("10.0.0.1", "failed to allocate IP 10.0.0.1: provided IP is already allocated"),
        ("1.2.3.4", "the provided network does not match the current range"),
        ("10.0.0.0", "the provided network does not match the current range"),
        ("10.0.255.255", "the provided network does not match the current range"),
    ],
)
def test_an_address_that_is_wished_for_may_not_be_had(address: str, why: str) -> None:
    error = _refused(World(), clusterIP=address)
    assert (error.code, error.causes[0].field) == (422, "spec.clusterIPs")
    assert why in error.message


def test_dual_stack_gives_an_address_of_each_family() -> None:
    world = World(*_DUAL)
    spec = world.service(ipFamilyPolicy="PreferDualStack")["spec"]
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]
    assert [":" in each for each in spec["clusterIPs"]] == [False, True]
    six = world.service("six", ipFamilies=["IPv6"])["spec"]
    assert six["clusterIP"].startswith("fd00:10::")
    assert World().service(ipFamilyPolicy="PreferDualStack")["spec"]["ipFamilies"] == ["IPv4"]
    error = _refused(World(), ipFamilyPolicy="RequireDualStack")
    assert "this cluster is not configured for dual-stack services" in error.message
    error = _refused(World(), ipFamilies=["IPv6"])
    assert 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster' in (
        error.message
    )


def test_going_to_two_families_and_back() -> None:
    world = World(*_DUAL)
    first = world.service()["spec"]["clusterIP"]
    spec = world.change(ipFamilyPolicy="PreferDualStack")["spec"]
    assert spec["clusterIPs"][0] == first
    assert len(spec["clusterIPs"]) == 2
    second = spec["clusterIPs"][1]
    assert world.get(IP_ADDRESSES, Key("", second)) is not None
    spec = world.change(ipFamilyPolicy="SingleStack")["spec"]
    assert (spec["clusterIPs"], spec["ipFamilies"]) == ([first], ["IPv4"])
    assert world.get(IP_ADDRESSES, Key("", second)) is None


def test_headless_services_have_no_address() -> None:
    world = World()
    spec = world.service(clusterIP="None", selector={"a": "b"}, ports=[])["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("None", ["None"])
    assert [each["metadata"]["name"] for each in world.list(IP_ADDRESSES)] == ["10.0.0.1"]
    bare = world.service("bare", clusterIP="None")["spec"]
    assert bare["ipFamilyPolicy"] == "RequireDualStack"
    assert bare["ipFamilies"] == ["IPv4", "IPv6"]


def test_node_ports_are_given_kept_and_released() -> None:
    settings = RegistrySettings(node_ports=PortRange(30000, 30019))
    world = World(settings=settings)
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    spec = world.service(type="NodePort", ports=ports)["spec"]
    given = [each["nodePort"] for each in spec["ports"]]
    assert len(set(given)) == 2
    assert all(30016 <= each <= 30019 for each in given)
    replaced = world.change(ports=[{"name": "b", "port": 99}, {"name": "a", "port": 80}])["spec"]
    assert [each["nodePort"] for each in replaced["ports"]] == given[::-1]
    error = _refused(world, name="x", type="NodePort", ports=[{"port": 1, "nodePort": given[0]}])
    assert "spec.ports[0].nodePort: Invalid value: " in error.message
    assert "provided port is already allocated" in error.message
    error = _refused(world, name="x", type="NodePort", ports=[{"port": 1, "nodePort": 99}])
    assert "The range of valid ports is 30000-30019" in error.message
    assert "nodePort" not in world.change(type="ClusterIP")["spec"]["ports"][0]
    world.service("x", type="NodePort", ports=[{"port": 1, "nodePort": given[0]}])


def test_tcp_and_udp_of_a_port_share_a_number() -> None:
    ports = [
        {"name": "t", "port": 53, "protocol": "TCP"},
        {"name": "u", "port": 53, "protocol": "UDP"},
        {"name": "v", "port": 54, "protocol": "UDP"},
    ]
    spec = World().service(type="NodePort", ports=ports)["spec"]
    numbers = [each["nodePort"] for each in spec["ports"]]
    assert numbers[0] == numbers[1] != numbers[2]


def test_load_balancers_have_ports_for_health_checks() -> None:
    world = World()
    spec = world.service(type="LoadBalancer", externalTrafficPolicy="Local")["spec"]
    assert spec["allocateLoadBalancerNodePorts"] is True
    port = spec["healthCheckNodePort"]
    assert 30086 <= port <= 32767
    assert world.change(healthCheckNodePort=None)["spec"]["healthCheckNodePort"] == port
    with pytest.raises(StatusError, match="field is immutable"):
        world.change(healthCheckNodePort=31999)
    assert "healthCheckNodePort" not in world.change(externalTrafficPolicy="Cluster")["spec"]
    bare = world.service("bare", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in bare["spec"]["ports"][0]


def test_what_was_allocated_survives_a_full_replace() -> None:
    world = World()
    made = world.service(type="NodePort")
    bare = {"type": "NodePort", "ports": [{"port": 80}]}
    assert world.update(SERVICES, made, spec=bare)["spec"] == made["spec"]


def test_a_changed_type_loses_what_no_longer_fits() -> None:
    world = World()
    world.service(type="LoadBalancer", externalTrafficPolicy="Local")
    spec = world.change(type="ClusterIP")["spec"]
    stale = {"externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"}
    assert not stale & spec.keys()
    address = spec["clusterIP"]
    spec = world.change(type="ExternalName", externalName="db.example.com")["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & spec.keys()
    assert world.get(IP_ADDRESSES, Key("", address)) is None
    spec = world.change(type="ClusterIP", externalName=None)["spec"]
    assert spec["clusterIPs"]


def test_addresses_do_not_change() -> None:
    world = World()
    world.service()
    with pytest.raises(StatusError, match="may not change once set") as caught:
        world.change(clusterIP="10.0.9.9", clusterIPs=["10.0.9.9"])
    assert caught.value.causes[0].field == "spec.clusterIPs[0]"


def test_nothing_changes_when_nothing_is_different() -> None:
    world = World()
    made = world.service(type="NodePort", sessionAffinity="ClientIP")
    version = world.version
    world.update(SERVICES, made)
    world.change()
    assert world.version == version


def test_a_dry_run_takes_nothing() -> None:
    world = World()
    spec = {"type": "NodePort", "ports": [{"port": 1}]}
    body = {"metadata": {"name": "x", "namespace": "default"}, "spec": spec}
    before = dict(world.objects)
    dry = world.create(SERVICES, body, dry_run=True)
    assert world.objects == before
    wished = {**dry["spec"], "ports": dry["spec"]["ports"]}
    assert world.service("y", **wished)["spec"]["clusterIP"] == dry["spec"]["clusterIP"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": []}, "spec.ports: Required value"),
        ({"ports": [{"port": 0}]}, "Invalid value: 0: must be between 1 and 65535, inclusive"),
        ({"ports": [{"port": 1}, {"port": 2}]}, "spec.ports[0].name: Required value"),
        (
            {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]},
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]},
            'spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}',
        ),
        ({"ports": [{"port": 1, "protocol": "ICMP"}]},
         'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'),
        ({"ports": [{"port": 1, "targetPort": "Http"}]}, "must contain only alpha-numeric"),
        ({"ports": [{"port": 1, "nodePort": 30000}]},
         "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"),
        ({"type": "Magic"}, 'spec.type: Unsupported value: "Magic"'),
        ({"clusterIP": "None", "type": "NodePort"},
         "may not be set to 'None' for NodePort services"),
        ({"clusterIP": "x.y"}, "must be a valid IP address"),
        ({"clusterIP": "010.0.0.9"}, "must be a valid IP address"),
        ({"clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.8"]},
         "first value must match `clusterIP`"),
        ({"sessionAffinity": "Sometimes"}, 'spec.sessionAffinity: Unsupported value: "Sometimes"'),
        (
            {
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 90000}},
            },
            "must be greater than 0 and less than 86400",
        ),
        ({"externalIPs": ["127.0.0.1"]}, "may not be in the loopback range"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]},
         "may only be used when `type` is 'LoadBalancer'"),
        ({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0"]},
         "must be a valid CIDR value"),
        ({"externalTrafficPolicy": "Local"}, "may only be set for externally-accessible services"),
        ({"internalTrafficPolicy": "Near"}, 'Unsupported value: "Near"'),
        ({"trafficDistribution": "Far"}, 'Unsupported value: "Far"'),
        ({"healthCheckNodePort": 31000}, "may only be set when `type` is 'LoadBalancer'"),
        ({"type": "ExternalName"}, "spec.externalName: Required value"),
        ({"type": "ExternalName", "externalName": "A_b"}, "RFC 1123 subdomain"),
        ({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.0.0.9"},
         "may not be set when `type` is 'ExternalName'"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "must be RequireDualStack or PreferDualStack"),
        ({"ipFamilyPolicy": "Both"}, 'spec.ipFamilyPolicy: Unsupported value: "Both"'),
        ({"selector": {"a b": "c"}}, "spec.selector: Invalid value"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_field(spec: dict[str, Any], message: str) -> None:
    error = _refused(World(), **spec)
    assert (error.code, error.reason) == (422, "Invalid")
    assert message in error.message


def test_what_a_real_server_said_of_wrong_services() -> None:
    """Recorded by hand: several faults in one answer, in this order."""
    error = _refused(World(), name="Bad_Name", ports=[{"port": 0}])
    assert error.message == (
        'Service "Bad_Name" is invalid: [metadata.name: Invalid value: "Bad_Name": a lowercase RFC '
        "1123 label must consist of lower case alphanumeric characters or '-', and must start and "
        "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
        "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.ports[0].port: Invalid value: 0: "
        "must be between 1 and 65535, inclusive, spec.ports[0].targetPort: Invalid value: 0: must "
        "be between 1 and 65535, inclusive]"
    )
    assert error.details == {"name": "Bad_Name", "kind": "Service"}


def test_status_is_not_spec_and_spec_is_not_status() -> None:
    world = World()
    made = world.service(type="LoadBalancer")
    balancer = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    changed = world.update(
        SERVICES, made, "status", status=balancer, spec={**made["spec"], "selector": {"x": "y"}}
    )
    assert "selector" not in changed["spec"]
    assert changed["status"]["loadBalancer"]["ingress"] == [{"ip": "203.0.113.1", "ipMode": "VIP"}]
    kept = world.change(selector={"x": "y"})
    assert kept["status"] == changed["status"]
    assert world.change(type="NodePort")["status"] == {"loadBalancer": {}}
    wrong = {"loadBalancer": {"ingress": [{"ip": "nowhere"}]}}
    with pytest.raises(StatusError, match="must be a valid IP address"):
        world.update(SERVICES, made, "status", status=wrong)


def test_what_works_and_is_no_good_idea_is_said() -> None:
    world = World()
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x", "namespace": "default"},
        "spec": {
            "ports": [{"port": 1}],
            "externalIPs": ["192.0.2.9"],
            "trafficDistribution": "PreferClose",
        },
    }
    from netproxy.apiserver.contract import WriteContext
    from tests.unit.apiserver.registry.world import NOW

    warnings = world.registry.create(SERVICES, body, WriteContext(NOW)).warnings
    assert any("externalIPs" in each for each in warnings)
    assert any("PreferSameZone" in each for each in warnings)
