"""The Node object that a host writes about itself: the old one and facts in, the new one out.

Rule 1: what others wrote stays: labels and annotations, taints, prefixes for Pods, conditions of
other types.
Source: the kubelet's register-node behaviour, core/v1 NodeStatus.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.api.resources import NODES
from netproxy.model.ip import IPAddress

MOST_PODS = 250
"""Of a prefix of 254 addresses a few remain for Pods that are just going."""
_NO_AGENT = "Pods are not run here (--run-pods=false)."


class HostFacts(NamedTuple):
    """What a host tells about itself, and what does not change while it runs."""

    cpus: int
    memory_kib: int
    architecture: str
    kernel: str
    system: str
    """Of the distribution, for people."""
    machine_id: str
    boot_id: str
    version: str
    """Ours."""


def moment(now: datetime) -> str:
    """A time as the API spells it, in whole seconds."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def node_object(name: str, facts: HostFacts) -> Object:
    """A new node, not ready yet."""
    return {
        "apiVersion": NODES.api_version,
        "kind": NODES.kind,
        "metadata": {"name": name, "labels": _labels(name, facts)},
    }


def was_ready(node: Object, facts: HostFacts) -> bool:
    """Whether it was ready when an agent of this boot last wrote."""
    status = node.get("status") or {}
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    boot = (status.get("nodeInfo") or {}).get("bootID")
    return boot == facts.boot_id and conditions.get("Ready") == "True"


def with_labels(node: Object, facts: HostFacts) -> Object:
    """The node, with the labels that every node has; unchanged if it has them."""
    metadata = node["metadata"]
    labels = {**(metadata.get("labels") or {}), **_labels(metadata["name"], facts)}
    if labels == metadata.get("labels"):
        return node
    return {**node, "metadata": {**metadata, "labels": labels}}


def with_status(
    node: Object,
    facts: HostFacts,
    addresses: Iterable[IPAddress],
    now: datetime,
    *,
    runs_pods: bool,
    trouble: str = "",
) -> Object:
    """The node, with what this host knows about itself; unchanged if that stands there already.

    Args:
        node: As the API has it.
        facts: Of the host.
        addresses: Where other nodes reach it; the first one counts most.
        now: The time.
        runs_pods: Whether Pods can be bound to it.
        trouble: Why it can run none at the moment; empty: it can.
    """
    old = node.get("status") or {}
    name = node["metadata"]["name"]
    resources = {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory_kib}Ki",
        "pods": str(MOST_PODS if runs_pods else 0),
    }
    status = {
        **old,
        "addresses": [
            *({"type": "InternalIP", "address": each} for each in addresses),
            {"type": "Hostname", "address": name},
        ],
        "capacity": {**(old.get("capacity") or {}), **resources},
        "allocatable": {**(old.get("allocatable") or {}), **resources},
        "nodeInfo": {**(old.get("nodeInfo") or {}), **_info(facts)},
        "conditions": _conditions(old.get("conditions") or (), now, runs_pods, trouble),
    }
    return node if status == old else {**node, "status": status}


def _labels(name: str, facts: HostFacts) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": facts.architecture,
    }


def _info(facts: HostFacts) -> dict[str, str]:
    return {
        "machineID": facts.machine_id,
        "systemUUID": facts.machine_id,
        "bootID": facts.boot_id,
        "kernelVersion": facts.kernel,
        "osImage": facts.system,
        "containerRuntimeVersion": facts.version,
        "kubeletVersion": facts.version,
        "kubeProxyVersion": facts.version,
        "operatingSystem": "linux",
        "architecture": facts.architecture,
    }


def _conditions(
    old: Iterable[Object], now: datetime, runs_pods: bool, trouble: str
) -> list[Object]:
    """The old ones, with ours among them; its times change only when it does."""
    others = [each for each in old if each["type"] != "Ready"]
    known = next((each for each in old if each["type"] == "Ready"), None)
    trouble = trouble or ("" if runs_pods else _NO_AGENT)
    ready: Object = {
        "type": "Ready",
        "status": "False" if trouble else "True",
        "reason": "AgentNotReady" if trouble else "AgentReady",
        "message": trouble or "netproxy runs Pods here.",
    }
    if known is not None and all(known.get(name) == value for name, value in ready.items()):
        return [*others, known]
    same = known is not None and known["status"] == ready["status"]
    since = known["lastTransitionTime"] if known is not None and same else moment(now)
    return [*others, {**ready, "lastHeartbeatTime": moment(now), "lastTransitionTime": since}]
