"""Our iptables rules against those that kube-proxy 1.36.2 wrote for the same objects.

``tests/data/rules`` has the output of its iptables-save. What differs on purpose is taken out of
both sides by ``_normalised``, each with its reason, and by nothing else.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from netproxy.backends.iptables import names
from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.surroundings import Addresses
from netproxy.ipt.fake import FakeIptables
from netproxy.ipt.text import TableText, read_tables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, family_of, parse_address, parse_prefix
from netproxy.model.parse import parse_object
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in

DATA = Path(__file__).parents[2] / "data"
RECORDED = sorted((DATA / "rules").glob("iptables-*.txt"))
FLOWS = {each["id"]: each for each in json.loads((DATA / "flows/iptables.json").read_text())}
KUBERNETES: list[dict[str, Any]] = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {
            "clusterIP": "172.30.0.1",
            "ports": [{"name": "https", "port": 443, "targetPort": 6443}],
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default"},
        "subsets": [
            {
                "addresses": [{"ip": "172.31.250.1"}],
                "ports": [{"name": "https", "port": 6443}],
            }
        ],
    },
]
"""The recording's own API server made these."""
_SHARED = {chain for _, chain in names.DISPATCH_PREFIXES}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_rules_are_those_of_kube_proxy(path: Path) -> None:
    text = path.read_text()
    scenario = FLOWS[text.split()[2]]
    tables = FakeIptables(Family.IPV4)
    config = _config(scenario["config"])
    local = [parse_address(a) for a in ("127.0.0.1", *scenario["config"]["localIPs"])]
    ours = tuple([a for a in local if family_of(a) is Family.IPV4])
    proxier = Proxier(
        config,
        iptables_dataplanes({Family.IPV4: tables}, fill_in),
        lambda _: Addresses(ours),
    )
    services = [_with_node_ports(each, text) for each in scenario["services"]]
    proxier.apply_events(_events([*KUBERNETES, *services, *scenario["endpointSlices"]]))
    proxier.sync()
    has = read_tables(text)
    for table in ("filter", "nat"):
        assert _normalised(tables.tables[table]) == _normalised(has[table])
        for chain in has[table].built_in:
            jumps = has[table].chains[chain]
            if not config.localhost_nodeports:
                jumps = jumps.replace(f"-A {chain} -j {names.FIREWALL}\n", "")
            assert tables.tables[table].chains[chain] == jumps, chain


def _config(words: dict[str, Any]) -> ProxyConfig:
    return ProxyConfig(
        node_name=words["hostname"],
        node_ips=tuple([parse_address(a) for a in words["nodeIPs"]]),
        cluster_cidrs=(parse_prefix(words["detectLocal"]["cidr"]),),
        masquerade_all=words["masqueradeAll"],
        nodeport_addresses=tuple([parse_prefix(p) for p in words["nodePortAddresses"] or ()]),
        localhost_nodeports=words["localhostNodePorts"],
        mode=ProxyMode.IPTABLES,
    )


def _with_node_ports(service: dict[str, Any], text: str) -> dict[str, Any]:
    """The recording's API server gave out NodePorts where the scenario names none."""
    ports = []
    for port in service["spec"]["ports"]:
        name = "/".join([service["metadata"]["namespace"], service["metadata"]["name"]])
        label = f"{name}:{port['name']}" if port.get("name") else name
        found = re.search(rf'-A KUBE-NODEPORTS -p tcp .*"{label}" -m tcp --dport (\d+)', text)
        given = {"nodePort": int(found[1])} if found and not port.get("nodePort") else {}
        ports.append(port | given)
    return service | {"spec": service["spec"] | {"ports": ports}}


def _events(objects: list[dict[str, Any]]) -> list[Event]:
    found: list[Event] = [Upsert(each) for raw in objects for each in parse_object(raw).objects]
    return [*found, Listed()]


def _normalised(table: TableText) -> dict[str, object]:
    """Chain → rules; a set where the order means nothing and kube-proxy's is random."""
    out: dict[str, object] = {}
    for chain, rules in table.chains.items():
        if chain in table.built_in or chain == names.CANARY:
            continue  # built-in ones are compared with their order; we need no canary
        if chain == names.FIREWALL and not rules:
            continue  # made by us only where NodePorts on localhost need it
        lines = [line for line in map(_without_nfacct, rules.splitlines()) if line]
        out[chain] = sorted(lines) if chain in _SHARED else lines
    return out


def _without_nfacct(line: str) -> str:
    """Netproxy leaves counting to the rules' own counters."""
    if "localhost_nps_accepted_pkts" in line:
        return ""  # a rule of its own for nothing but the counter
    return re.sub(r" -m nfacct --nfacct-name +\S+", "", line)
