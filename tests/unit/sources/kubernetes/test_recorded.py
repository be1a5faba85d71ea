"""What kube-proxy asked a real API server and heard from it; tests/data/api has the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from netproxy.model.endpoints import Endpoint, EndpointSlice
from netproxy.model.events import Delete, ModelObject, ObjectKey, Upsert, key_of
from netproxy.model.ip import IPAddress, parse_prefix
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.service import Service
from netproxy.sources.kubernetes.decode import Decoder, Failure, Put, read_failure, split_list
from netproxy.sources.kubernetes.outbox import Outbox
from netproxy.sources.kubernetes.reflector import Asking, Reflector
from netproxy.sources.kubernetes.resources import (
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
    our_node,
)

RECORD = Path(__file__).parents[3] / "data" / "api" / "proxy.jsonl"
EXCHANGES = [json.loads(text) for text in RECORD.read_text().splitlines()]
NODE = our_node("node-a")


def exchange(wanted: str) -> Any:
    return next(each for each in EXCHANGES if wanted in each["path"])


def exchange_of(resource: Resource) -> Any:
    """kube-proxy's own request for a kind; it is the one that says how long it waits."""
    return next(
        e for e in EXCHANGES if e["path"].startswith(resource.path) and "timeout=" in e["path"]
    )


def replay(resource: Resource) -> tuple[Reflector, dict[ObjectKey, ModelObject]]:
    """Let a reflector hear what kube-proxy heard."""
    outbox = Outbox(lambda: None)
    reflector = Reflector(resource, outbox, dice=lambda: 0.0)
    reflector.next_request()
    for event in exchange_of(resource)["body"]:
        assert reflector.take_line(json.dumps(event).encode()) is None
    state: dict[ObjectKey, ModelObject] = {}
    batch = outbox.take()
    assert batch.diagnostics == ()
    for each in batch.events:
        match each:
            case Upsert(object=obj):
                state[key_of(obj)] = obj
            case Delete(key=key):
                state.pop(key, None)
    return reflector, state


@pytest.mark.parametrize("resource", [SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS, NODE])
def test_asks_what_kube_proxy_asks(resource: Resource) -> None:
    url = urlsplit(exchange_of(resource)["path"])
    theirs = dict(parse_qsl(url.query))
    ours = Reflector(resource, Outbox(lambda: None), dice=lambda: 0.0).next_request()
    del theirs["timeout"]  # the client library's own, which servers ignore
    assert resource.path == url.path
    assert {**ours.query, "timeoutSeconds": theirs["timeoutSeconds"]} == theirs


def test_services() -> None:
    reflector, state = replay(SERVICES)
    assert reflector.is_listed
    assert [key[2] for key in sorted(state)] == ["kubernetes", "svc1", "svc2", "svc3"]
    kubernetes = state["Service", "default", "kubernetes"]
    assert isinstance(kubernetes, Service)
    assert kubernetes.cluster_ips == (IPAddress("172.30.0.1"),)
    assert [(p.name, p.port) for p in kubernetes.ports] == [("https", 443)]
    assert reflector.next_request().asking is Asking.WATCH
    assert reflector.next_request().query["resourceVersion"] == "2648"  # of the last deletion


def test_endpoint_slices() -> None:
    _, state = replay(ENDPOINT_SLICES)
    assert [key[2] for key in sorted(state)] == ["kubernetes", "svc1-1", "svc2-1", "svc3-1"]
    found = state["EndpointSlice", "default", "kubernetes"]
    assert isinstance(found, EndpointSlice)
    assert found.endpoints == (Endpoint(IPAddress("172.31.250.1")),)


def test_the_node_and_the_service_range() -> None:
    _, state = replay(NODE)
    (found,) = state.values()
    assert isinstance(found, Node)
    assert (found.zone, found.is_leaving) == ("zone-9", False)
    assert found.pod_cidrs == (parse_prefix("10.244.0.0/24"),)
    _, state = replay(SERVICE_CIDRS)
    ranges = (parse_prefix("172.30.0.0/16"), parse_prefix("fd00:172:30::/112"))
    assert list(state.values()) == [ServiceCIDR("kubernetes", ranges)]


def test_pages() -> None:
    page = split_list(json.dumps(exchange("limit=1")["body"]).encode())
    assert (page.version, bool(page.token), len(page.items)) == (2657, True, 1)
    put = Decoder("Service").item(page.items[0])
    assert isinstance(put, Put)
    assert (put.key, put.version) == (("Service", "default", "kubernetes"), 68)


def test_refusals() -> None:
    future = exchange("999999999")
    failure = read_failure(future["status"], json.dumps(future["body"]).encode())
    assert (failure.code, failure.is_too_new, failure.retry_after_s) == (504, True, 1.0)
    wrong = exchange("watch=true&sendInitialEvents=true&timeoutSeconds=2")
    assert read_failure(wrong["status"], json.dumps(wrong["body"]).encode()).code == 422
    (expired,) = exchange("resourceVersion=1&")["body"]
    said = Decoder("Service").line(json.dumps(expired).encode())
    assert said == Failure(410, "too old resource version: 1 (1780)", "Expired")
