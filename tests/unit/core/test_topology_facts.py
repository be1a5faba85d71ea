"""Facts about the reference proxy: which endpoints may be used, which addresses accept NodePorts.

Not played: ``containsIPv4Loopback`` of the NodePort facts, which is about NodePorts on 127.0.0.1;
in nftables mode there are none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netproxy.core.config import ProxyConfig
from netproxy.core.plan import Action, ServicePlan, Target
from netproxy.core.resolve import Locality, candidates_for, resolve_service
from netproxy.core.surroundings import Addresses, look_around
from netproxy.core.topology import choose_endpoints
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.ip import Family, IPAddress, Prefix, family_of, parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort, TrafficPolicy

FLOWS = Path(__file__).parents[2] / "data" / "flows"
TOPOLOGY = json.loads((FLOWS / "topology.json").read_text())
NODE_IPS = json.loads((FLOWS / "nodeport_addresses.json").read_text())["nodeIPs"]

# What the reference does with a feature switched off that cannot be switched off any more.
GATE_OFF = "PreferSameNode falls back to same-zone when feature gate disabled"
# With no list given, nftables mode asks with the node's primary addresses instead of an empty list.
EMPTY_LISTS = [case for case in NODE_IPS if not case["cidrs"]]
LISTS = [case for case in NODE_IPS if case["cidrs"]]

Case = dict[str, Any]
KEY = ServiceKey("default", "web")
PORT = ServicePort("http", "TCP", 80)
ELSEWHERE = "some-other-node"

every_choice = pytest.mark.parametrize(
    "case",
    [case for case in TOPOLOGY if case["name"] != GATE_OFF],
    ids=[case["name"] for case in TOPOLOGY if case["name"] != GATE_OFF],
)


def _locality(case: Case) -> Locality:
    zone = case["nodeLabels"].get("topology.kubernetes.io/zone", "")
    return Locality(case["nodeName"] or "this-node", zone)


def _slices(case: Case) -> list[EndpointSlice]:
    """One slice per endpoint: slices are merged, whatever is in them."""
    return [
        EndpointSlice(
            KEY, f"web-{number}", Family.IPV4, (SlicePort("http", "TCP", 80),), (endpoint,)
        )
        for number, endpoint in enumerate(_endpoint(raw, case) for raw in case["endpoints"])
    ]


def _endpoint(raw: Case, case: Case) -> Endpoint:
    return Endpoint(
        address=IPAddress(raw["endpoint"].removesuffix(":80")),
        node=_locality(case).node_name if raw["isLocal"] else ELSEWHERE,
        ready=raw["ready"],
        serving=raw["serving"],
        terminating=raw["terminating"],
        zone_hints=frozenset(raw["zoneHints"]),
        node_hints=frozenset(raw["nodeHints"]),
    )


def _names(targets: tuple[Target, ...]) -> list[str]:
    return sorted(f"{target.address}:{target.port}" for target in targets)


@every_choice
def test_usable_endpoints_are_those_of_the_reference(case: Case) -> None:
    locality = _locality(case)
    choice = choose_endpoints(
        candidates_for(PORT, _slices(case)),
        node_name=locality.node_name,
        zone=locality.zone,
        uses_cluster=case["service"]["usesClusterEndpoints"],
        uses_local=case["service"]["usesLocalEndpoints"],
    )
    expected = case["expected"]
    assert _names(choice.cluster) == sorted(expected["cluster"] or ())
    assert _names(choice.local) == sorted(expected["local"] or ())
    assert choice.has_any is expected["hasAnyEndpoints"]


@every_choice
def test_plans_use_the_endpoints_of_the_reference(case: Case) -> None:
    expected = case["expected"]
    plan = _resolve(case)
    assert _names(plan.targets) == sorted(expected["cluster"] or ())
    assert _names(plan.local_targets) == sorted(expected["local"] or ())
    assert {*_names(plan.targets), *_names(plan.local_targets)} == set(expected["all"] or ())
    for frontend in plan.frontends:
        if frontend.action is not Action.FORWARD:
            refusal = Action.DROP if expected["hasAnyEndpoints"] else Action.REJECT
            assert frontend.action is refusal


def _resolve(case: Case) -> ServicePlan:
    facts = case["service"]
    service = Service(
        key=KEY,
        ports=(PORT._replace(node_port=facts["nodePort"]),),
        cluster_ips=(IPAddress("172.30.0.41"),),
        internal_policy=_policy(facts["internalPolicyLocal"]),
        external_policy=_policy(facts["externalPolicyLocal"]),
    )
    (plan,) = resolve_service(service, _slices(case), _locality(case), (Family.IPV4,))
    return plan


def _policy(is_local: bool) -> TrafficPolicy:
    return TrafficPolicy.LOCAL if is_local else TrafficPolicy.CLUSTER


def test_node_hints_are_always_heeded() -> None:
    """The one fact about a switch that is gone: the same endpoints, and the node hint counts."""
    (case,) = [case for case in TOPOLOGY if case["name"] == GATE_OFF]
    assert _names(_resolve(case).targets) == ["10.1.2.3:80"]


def _look(case: Case, family: Family, cidrs: tuple[Prefix, ...]) -> tuple[IPAddress, ...] | None:
    own = [a.partition("/")[0] for each in case["interfaces"] for a in each["addresses"]]
    local = tuple(IPAddress(a) for a in own if family_of(a) is family)
    return look_around(
        ProxyConfig("node-a", nodeport_addresses=cidrs),
        family,
        node=None,
        service_cidrs=(),
        addresses=Addresses(local, next((a for a in local if not a.startswith("127.")), None)),
    ).nodeport_ips


@pytest.mark.parametrize("family", list(Family), ids=lambda family: family.label)
@pytest.mark.parametrize("case", LISTS, ids=[case["name"] for case in LISTS])
def test_nodeports_are_accepted_where_the_reference_accepts_them(
    case: Case, family: Family
) -> None:
    expected = case["expected"][family.label]
    seen = _look(case, family, tuple(map(parse_prefix, case["cidrs"])))
    if expected["matchAll"]:
        assert seen is None
    else:
        assert seen is not None
        # The reference's proxiers leave loopback out of what these facts are about.
        accepting = [a for a in expected["ips"] if not a.startswith("127.") and a != "::1"]
        assert sorted(seen) == sorted(accepting)


@pytest.mark.parametrize("case", EMPTY_LISTS, ids=[case["name"] for case in EMPTY_LISTS])
def test_an_empty_list_stands_for_the_primary_address(case: Case) -> None:
    for family in Family:
        seen = _look(case, family, ())
        mine = [a for a in case["expected"][family.label]["ips"] if a not in ("127.0.0.1", "::1")]
        assert list(seen or ()) == mine
