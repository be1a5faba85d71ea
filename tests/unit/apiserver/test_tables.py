"""What kubectl prints is what it prints of a real cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import (
    CORE_EVENTS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    IP_ADDRESSES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    RESOURCES,
    SERVICES,
    Resource,
)
from netproxy.apiserver.request import find_place
from netproxy.apiserver.tables import to_table
from netproxy.apiserver.tables.ages import brief
from tests.unit.apiserver.recorded import exchanges

_NOW = datetime(2026, 11, 23, 2, 0, 0, tzinfo=UTC)
_TABLES = [
    (place.resource, each["response"]["body"])
    for each in exchanges()
    if isinstance(each["response"]["body"], dict)
    and each["response"]["body"].get("kind") == "Table"
    if (place := find_place(each["request"]["path"].partition("?")[0])) is not None
]


def _cells(resource: Resource, obj: Object) -> list[Any]:
    named = {"metadata": {"name": "x", "creationTimestamp": "2026-11-23T01:59:00Z"}, **obj}
    table = to_table(resource, [named], include_object="None", now=_NOW, metadata={})
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])
    cells: list[Any] = table["rows"][0]["cells"]
    return cells


@pytest.mark.parametrize(("resource", "recorded"), _TABLES)
def test_columns_are_those_of_a_real_server(resource: Resource, recorded: Object) -> None:
    ours = to_table(resource, [], include_object="Metadata", now=_NOW, metadata={})
    fields = ("name", "type", "format", "priority")
    shown = [[each[name] for name in fields] for each in ours["columnDefinitions"]]
    assert shown == [[each[name] for name in fields] for each in recorded["columnDefinitions"]]


def test_enough_tables_were_recorded() -> None:
    assert {each.qualified for each, _ in _TABLES} >= {
        "services", "pods", "endpoints", "endpointslices.discovery.k8s.io", "namespaces", "events",
        "deployments.apps", "replicasets.apps",
    }  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.qualified)
def test_every_kind_has_a_row(resource: Resource) -> None:
    assert "x" in _cells(resource, {"spec": {}, "status": {}})


def test_a_row_carries_what_is_asked_for() -> None:
    obj: Object = {"metadata": {"name": "a"}, "spec": {"type": "ClusterIP"}}
    rows = [
        to_table(SERVICES, [obj], include_object=each, now=_NOW, metadata={})["rows"][0]
        for each in ("None", "Metadata", "Object")
    ]
    assert "object" not in rows[0]
    assert rows[1]["object"]["kind"] == "PartialObjectMetadata"
    assert rows[1]["object"]["metadata"] == {"name": "a"}
    assert rows[2]["object"] is obj


@pytest.mark.parametrize(
    ("spec", "status", "cells"),
    [
        (
            {"type": "ClusterIP", "clusterIP": "10.0.0.1", "ports": [{"port": 80}]},
            {},
            ["ClusterIP", "10.0.0.1", "<none>", "80/TCP", "60s", "<none>"],
        ),
        (
            {
                "type": "NodePort",
                "clusterIP": "10.0.0.1",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}, {"port": 443}],
                "selector": {"b": "2", "a": "1"},
                "externalIPs": ["192.0.2.1"],
            },
            {},
            ["NodePort", "10.0.0.1", "192.0.2.1", "80:30080/UDP,443/TCP", "60s", "a=1,b=2"],
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "10.0.0.1"},
            {},
            ["LoadBalancer", "10.0.0.1", "<pending>", "<none>", "60s", "<none>"],
        ),
        (
            {"type": "LoadBalancer", "clusterIP": "10.0.0.1"},
            {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}},
            ["LoadBalancer", "10.0.0.1", "203.0.113.9", "<none>", "60s", "<none>"],
        ),
        (
            {"type": "ExternalName", "externalName": "db.example.com"},
            {},
            ["ExternalName", "<none>", "db.example.com", "<none>", "60s", "<none>"],
        ),
        (
            {"type": "ClusterIP", "clusterIP": "None"},
            {},
            ["ClusterIP", "None", "<none>", "<none>", "60s", "<none>"],
        ),
    ],
)
def test_services(spec: Object, status: Object, cells: list[Any]) -> None:
    assert _cells(SERVICES, {"spec": spec, "status": status}) == ["x", *cells]


def test_endpoints_are_named_up_to_three() -> None:
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    subset = {"addresses": addresses, "ports": [{"port": 80}]}
    shown = "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert _cells(ENDPOINTS, {"subsets": [subset]})[1] == shown
    assert _cells(ENDPOINTS, {})[1] == "<none>"
    six = {"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]}
    assert _cells(ENDPOINTS, six)[1] == "[fd00::1]:80"
    endpoints = [{"addresses": [each["ip"]]} for each in addresses]
    sliced = {"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": endpoints}
    assert _cells(ENDPOINT_SLICES, sliced)[1:4] == [
        "IPv4", "80", "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...",
    ]  # fmt: skip
    assert _cells(ENDPOINT_SLICES, {"addressType": "IPv6"})[2:4] == ["<unset>", "<unset>"]


_RUNNING = {"name": "c", "ready": True, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("metadata", "spec", "status", "shown"),
    [
        ({}, {"containers": [{}]}, {"phase": "Pending"}, ["0/1", "Pending", "0"]),
        (
            {},
            {"containers": [{}]},
            {"phase": "Running", "containerStatuses": [_RUNNING]},
            ["1/1", "Running", "0"],
        ),
        (
            {"deletionTimestamp": "2026-11-23T01:59:59Z"},
            {"containers": [{}]},
            {"phase": "Running", "containerStatuses": [_RUNNING]},
            ["1/1", "Terminating", "0"],
        ),
        (
            {},
            {"containers": [{}]},
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "name": "c",
                        "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"finishedAt": "2026-11-23T01:59:30Z"}},
                    }
                ],
            },
            ["0/1", "CrashLoopBackOff", "3 (30s ago)"],
        ),
        (
            {},
            {"containers": [{}]},
            {
                "phase": "Succeeded",
                "containerStatuses": [
                    {"name": "c", "state": {"terminated": {"reason": "Completed"}}}
                ],
            },
            ["0/1", "Completed", "0"],
        ),
        (
            {},
            {"containers": [{}], "initContainers": [{"name": "i"}, {"name": "j"}]},
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "j", "state": {"running": {}}},
                ],
            },
            ["0/1", "Init:1/2", "0"],
        ),
        (
            {},
            {"containers": [{}], "initContainers": [{"name": "i"}]},
            {
                "phase": "Pending",
                "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 7}}}],
            },
            ["0/1", "Init:ExitCode:7", "0"],
        ),
        (
            {},
            {"containers": [{}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            {
                "phase": "Running",
                "initContainerStatuses": [
                    {"name": "s", "ready": True, "started": True, "state": {"running": {}}}
                ],
                "containerStatuses": [_RUNNING],
            },
            ["2/2", "Running", "0"],
        ),
        (
            {},
            {"containers": [{}]},
            {"phase": "Failed", "reason": "Evicted"},
            ["0/1", "Evicted", "0"],
        ),
    ],
)
def test_pods(metadata: Object, spec: Object, status: Object, shown: list[str]) -> None:
    obj = {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-23T01:59:00Z", **metadata},
        "spec": spec,
        "status": status,
    }
    assert _cells(PODS, obj)[1:4] == shown


def test_other_kinds() -> None:
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
        },
    }
    assert _cells(NODES, node)[1:4] == ["Ready,SchedulingDisabled", "worker", "<unknown>"]
    assert _cells(NODES, node)[5] == "192.0.2.1"
    assert _cells(NAMESPACES, {"status": {"phase": "Active"}})[1] == "Active"
    parent = {"resource": "services", "namespace": "default", "name": "web"}
    assert _cells(IP_ADDRESSES, {"spec": {"parentRef": parent}})[1] == "services/default/web"
    assert _cells(LEASES, {"spec": {"holderIdentity": "n"}})[1] == "n"
    workload = {
        "spec": {
            "replicas": 3,
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "t", "operator": "In", "values": ["a", "b"]}],
            },
            "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1, "replicas": 3},
    }
    rest = ["60s", "c", "i", "app=web,t in (a,b)"]
    assert _cells(DEPLOYMENTS, workload)[1:] == ["2/3", 3, 1, *rest]
    assert _cells(REPLICA_SETS, workload)[1:] == [3, 3, 2, *rest]
    event = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "type": "Normal",
        "reason": "Started",
        "message": "Started it",
        "lastTimestamp": "2026-11-23T01:59:50Z",
        "count": 4,
        "source": {"component": "agent", "host": "n"},
    }
    cells = _cells(CORE_EVENTS, event)
    assert cells[:4] == ["10s", "Normal", "Started", "pod/p"]
    assert cells[5:] == ["agent, n", "Started it", "<unknown>", 4, "x"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (417, "6m57s"), (600, "10m"),
        (10_799, "179m"), (10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"), (172_799, "47h"),
        (172_800, "2d"), (180_000, "2d2h"), (691_200, "8d"), (63_072_000, "2y"),
        (64_000_000, "2y10d"), (252_288_000, "8y"),
    ],
)  # fmt: skip
def test_ages_are_brief(seconds: int, told: str) -> None:
    assert brief(seconds) == told
