"""One kind of objects followed: what is asked, what is told, how long it waits."""

from __future__ import annotations

import json

import pytest

from netproxy.model.events import ObjectKey
from netproxy.model.ip import IPAddress
from netproxy.model.service import IgnoredService, Service
from netproxy.sources.kubernetes.decode import Failure
from netproxy.sources.kubernetes.outbox import Outbox
from netproxy.sources.kubernetes.reflector import Asking, Pace, Reflector, Trouble
from netproxy.sources.kubernetes.resources import (
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    SERVICES,
    our_node,
)
from tests.kube.objects import endpoint_slice, node, service, service_cidr
from tests.kube.storage import KINDS, Storage, bookmark
from tests.unit.sources.kubernetes.wire import Heard, Wire

PACE = Pace()


def wire(*objects: object, streams: bool = True, page_objects: int = 1000) -> Wire:
    storage = Storage(lambda _: None)
    for obj in objects:
        storage.put(obj)  # type: ignore[arg-type]
    return Wire(SERVICES, storage, streams=streams, page_objects=page_objects)


def key(name: str) -> ObjectKey:
    return ("Service", "default", name)


def names(told: list[Heard]) -> list[str]:
    """Names of what was told; with a minus, of what is gone."""
    return [heard.key[2] if heard.object else f"-{heard.key[2]}" for heard in told]


def asked(it: Wire) -> list[Asking]:
    return [request.asking for request in it.requests]


@pytest.mark.parametrize("streams", [True, False])
def test_tells_what_there_is_then_what_changes(streams: bool) -> None:
    it = wire(service("a"), service("b"), streams=streams)
    was_listed = it.reflector.is_listed
    assert names(it.settle()) == ["a", "b"]
    assert (was_listed, it.reflector.is_listed) == (False, True)
    it.storage.put(service("a", port=81))
    it.storage.put(service("c"))
    it.storage.delete("services", "b", "default")
    assert names(it.settle()) == ["a", "c", "-b"]
    assert len(it.reflector) == 2
    how = [Asking.INITIAL] if streams else [Asking.INITIAL, Asking.PAGE, Asking.WATCH]
    assert asked(it) == how


def test_asks_as_the_reference_does() -> None:
    it = wire()
    it.settle()
    assert it.requests[0].query == {
        "allowWatchBookmarks": "true",
        "fieldSelector": "spec.clusterIP!=None",
        "labelSelector": "!service.kubernetes.io/service-proxy-name",
        "resourceVersionMatch": "NotOlderThan",
        "sendInitialEvents": "true",
        "timeoutSeconds": "450",
        "watch": "true",
    }
    assert it.requests[0].silence_s == 450 + PACE.grace_s
    assert our_node("a").selectors == {"fieldSelector": "metadata.name=a"}
    assert ENDPOINT_SLICES.selectors == {"labelSelector": "!service.kubernetes.io/headless"}
    assert SERVICE_CIDRS.selectors == {}


def test_resumes_behind_what_it_heard_after_a_cut() -> None:
    it = wire(service("a"))
    it.settle()
    version = it.storage.put(service("b"))
    it.settle()
    it.cut()
    it.storage.put(service("c"))
    assert names(it.settle()) == ["c"]
    assert it.requests[-1].query["resourceVersion"] == str(version)
    assert "sendInitialEvents" not in it.requests[-1].query


def test_bookmarks_move_the_place_to_resume_at() -> None:
    it = wire(service("a"))
    it.settle()
    it.deliver(bookmark(KINDS["Service"], 77))
    it.deliver(bookmark(KINDS["Service"], 5))
    it.cut()
    assert it.reflector.next_request().query["resourceVersion"] == "77"


@pytest.mark.parametrize("streams", [True, False])
def test_a_relist_tells_only_what_is_different(streams: bool) -> None:
    it = wire(service("a"), service("b"), service("c"), streams=streams)
    it.settle()
    it.cut()
    it.storage.put(service("a", port=81))
    it.storage.delete("services", "b", "default")
    it.storage.put(service("d"))
    it.storage.forget_changes("services")
    assert names(it.settle()) == ["a", "d", "-b"]
    assert asked(it)[-1 if streams else -2] is (Asking.INITIAL if streams else Asking.PAGE)
    if not streams:
        assert "resourceVersion" not in it.requests[-2].query  # no older state than it had


def test_a_status_410_leads_to_a_relist_as_an_event_does() -> None:
    it = wire(service("a"))
    it.settle()
    it.refuse(Failure(410, "too old", "Expired"))
    assert it.settle() == []
    assert asked(it) == [Asking.INITIAL, Asking.WATCH, Asking.INITIAL]
    assert it.troubles[-1].is_relist


def test_any_other_error_event_leads_to_a_relist_as_well() -> None:
    it = wire(service("a"))
    it.settle()
    status = {"status": "Failure", "message": "cannot decode", "code": 500}
    it.deliver(json.dumps({"type": "ERROR", "object": status}).encode())
    assert it.troubles == [Trouble("cannot decode", is_relist=True)]
    assert it.settle() == []
    assert asked(it) == [Asking.INITIAL, Asking.INITIAL]


def test_a_relist_that_is_cut_takes_nothing_away() -> None:
    it = wire(service("a"), service("b"))
    it.settle()
    it.cut()
    it.storage.delete("services", "b", "default")
    it.storage.forget_changes("services")
    for _ in range(3):  # the watch, its 410, the relist's request
        it.step()
    it.step()
    it.cut()
    assert it.take() == []
    assert names(it.settle()) == ["-b"]


def test_pages_are_one_list() -> None:
    it = wire(*(service(f"s{n}") for n in range(7)), streams=False, page_objects=3)
    assert len(it.settle()) == 7
    assert asked(it) == [Asking.INITIAL, *[Asking.PAGE] * 3, Asking.WATCH]
    assert [r.query.get("continue") for r in it.requests[1:4]] == [None, "page-2", "page-3"]
    assert it.requests[1].query["limit"] == "500"
    assert it.requests[1].query["resourceVersion"] == "0"


def test_pages_that_grow_old_are_asked_for_at_once() -> None:
    it = wire(*(service(f"s{n}") for n in range(7)), streams=False, page_objects=3)
    it.step()
    it.step()
    it.expire_pages()
    assert len(it.settle()) == 7
    assert asked(it)[1:] == [Asking.PAGE] * 3 + [Asking.WATCH]
    assert "limit" not in it.requests[-2].query
    it.refuse(Failure(410, "too old"))
    it.settle()
    assert it.requests[-2].query["limit"] == "500"


def test_streaming_lists_are_not_asked_for_again_where_they_were_refused() -> None:
    it = wire(streams=False)
    it.settle()
    assert [t.problem for t in it.troubles] == ["the API server has no streaming lists"]
    assert it.reflector.failures == 0
    it.refuse(Failure(410, "too old"))
    it.settle()
    assert asked(it).count(Asking.INITIAL) == 1


def test_a_streaming_list_without_an_end_is_given_up_until_the_next_list() -> None:
    it = wire(service("a"))
    it.step()
    trouble = it.reflector.fell_silent()
    assert trouble.is_relist
    it.reflector.ended(0.0, trouble)
    assert it.reflector.next_request().asking is Asking.PAGE


def test_garbage_leads_to_another_way_of_listing() -> None:
    it = wire(service("a"))
    it.step()
    it.deliver(b"<html>")
    assert names(it.settle()) == ["a"]
    assert asked(it) == [Asking.INITIAL, Asking.PAGE, Asking.WATCH]
    it.deliver(b"<html>")
    assert it.settle() == []
    assert asked(it)[3:] == [Asking.INITIAL]


def test_what_was_heard_before_is_no_news() -> None:
    it = wire(service("a"))
    it.settle()
    it.storage.put(service("a", port=81))
    it.storage.put(service("b"))
    it.storage.delete("services", "b", "default")
    assert names(it.settle()) == ["a", "-b"]
    it.repeat(3)
    assert it.settle() == []
    it.storage.put(service("b"))
    assert names(it.settle()) == ["b"]


def test_after_a_restore_everything_is_heard_once_more() -> None:
    it = wire(service("a"), service("b"))
    backup = it.storage.backup()
    it.settle()
    it.storage.put(service("a", port=81))
    it.storage.put(service("c"))
    it.settle()
    it.cut()
    it.storage.restore(backup)
    assert sorted(names(it.settle())) == ["-c", "a", "b"]
    assert asked(it) == [Asking.INITIAL, Asking.WATCH, Asking.INITIAL]


def test_a_list_with_a_lower_version_is_another_history() -> None:
    it = wire(service("a"), service("b"))
    backup = it.storage.backup()
    it.settle()
    it.storage.put(service("c"))
    it.settle()
    it.storage.restore(backup)
    it.refuse(Failure(410, "too old"))
    assert sorted(names(it.settle())) == ["-c", "a", "b"]
    assert it.troubles[-1].problem == "the API server's versions went back"
    assert asked(it)[-2:] == [Asking.INITIAL, Asking.INITIAL]


def test_what_a_list_says_counts_also_where_its_versions_are_lower() -> None:
    it = wire(service("a"))
    backup = it.storage.backup()
    it.settle()
    it.storage.put(service("a", port=81))
    it.settle()
    it.storage.restore(backup)
    for _ in range(5):
        it.storage.put(service("b"))  # versions have caught up before it comes back
    it.refuse(Failure(410, "too old"))
    assert names(it.settle()) == ["a", "b"]
    web = it.state[key("a")]
    assert isinstance(web, Service)
    assert web.ports[0].port == 80


def test_a_broken_object_keeps_its_last_valid_version() -> None:
    it = wire(service("a"))
    it.settle()
    it.storage.put(service("a", "no address"))
    it.storage.put(service("b"))
    assert names(it.settle()) == ["b"]
    assert it.reflector.is_complete
    assert [(d.subject, d.field) for d in it.diagnostics] == [
        ("Service default/a", "spec.clusterIPs[0]")
    ]
    it.refuse(Failure(410, "too old"))
    assert it.settle() == []
    it.storage.delete("services", "a", "default")
    assert names(it.settle()) == ["-a"]


@pytest.mark.parametrize("mended", [True, False])
def test_a_broken_object_that_nobody_knows_is_missing_until_it_is_mended_or_gone(
    mended: bool,
) -> None:
    it = wire(service("a", "no address"), service("b", ports=[{"port": "80"}]), service("c"))
    assert names(it.settle()) == ["c"]
    assert not it.reflector.is_complete
    it.storage.put(service("a"))
    it.settle()
    assert not it.reflector.is_complete
    if mended:
        it.storage.put(service("b"))
    else:
        it.storage.delete("services", "b", "default")
    it.settle()
    assert it.reflector.is_complete


def test_what_means_nothing_to_a_proxy_is_gone_to_it() -> None:
    storage = Storage(lambda _: None)
    it = Wire(ENDPOINT_SLICES, storage)
    storage.put(endpoint_slice("web", ["10.1.0.1"]))
    storage.put(endpoint_slice("names", ["example.org"], addressType="FQDN"))
    assert [heard.key[2] for heard in it.settle()] == ["web-x7k2p"]
    assert it.reflector.is_complete
    storage.put(endpoint_slice("web", ["example.org"], addressType="FQDN"))
    assert it.settle() == [Heard(("EndpointSlice", "default", "web-x7k2p"), None)]
    bare = endpoint_slice("web", ["10.1.0.1"])
    bare["metadata"]["labels"] = {}
    storage.put(endpoint_slice("web", ["10.1.0.1"]))
    storage.put(bare)
    assert it.settle() == [Heard(("EndpointSlice", "default", "web-x7k2p"), None)]


def test_services_that_the_server_should_have_left_out_are_ignored() -> None:
    it = wire(service("a"))
    it.settle()
    it.deliver(
        b'{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"default",'
        b'"resourceVersion":"99"},"spec":{"clusterIP":"None"}}}'
    )
    (heard,) = it.settle()
    assert isinstance(heard.object, IgnoredService)


def test_one_objects_trouble_ends_no_stream() -> None:
    it = wire(service("a"))
    it.settle()
    for line in (
        b'{"type":"ADDED","object":{"metadata":{}}}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"DELETED","object":[]}',
        b'{"type":"DELETED","object":{"metadata":{"namespace":"default"}}}',
        b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":7}}}',
        b'{"type":"SYNCED","object":{}}',
        b'{"type":"ADDED","object":{"metadata":{"name":"b","resourceVersion":"98"},"spec":"x"}}',
    ):
        it.deliver(line)
    assert it.settle() == []
    assert it.troubles == []
    assert len(it.requests) == 1
    it.storage.put(service("c"))
    assert names(it.settle()) == ["c"]


def test_trigger_times_are_handed_on_for_changes_only() -> None:
    storage = Storage(lambda _: None)
    it = Wire(ENDPOINT_SLICES, storage)
    storage.put(endpoint_slice("web", ["10.1.0.1"], triggered="2026-01-01T00:00:00Z"))
    while it.step():
        pass
    assert it.outbox.take().trigger_times == ()
    storage.put(endpoint_slice("web", ["10.1.0.2"], triggered="2026-01-01T00:00:10Z"))
    storage.put(endpoint_slice("web", ["10.1.0.3"], triggered="2026-01-01T00:00:11.5Z"))
    storage.put(endpoint_slice("web", ["10.1.0.4"], triggered="yesterday"))
    while it.step():
        pass
    batch = it.outbox.take()
    assert batch.trigger_times == (1767225610.0, 1767225611.5)
    assert len(batch.events) == 1


def test_only_our_node_is_followed() -> None:
    storage = Storage(lambda _: None)
    it = Wire(our_node("node-a"), storage)
    storage.put(node("node-b"))
    assert it.settle() == []
    assert it.reflector.is_listed
    storage.put(node("node-a", ["192.168.0.2"], taints=["ToBeDeletedByClusterAutoscaler"]))
    (heard,) = it.settle()
    assert heard.object is not None
    assert heard.object._asdict() == {
        "name": "node-a",
        "zone": "",
        "addresses": (IPAddress("192.168.0.2"),),
        "pod_cidrs": (),
        "is_leaving": True,
    }


@pytest.mark.parametrize("code", [403, 404])
def test_a_server_without_service_cidrs_has_none(code: int) -> None:
    storage = Storage(lambda _: None)
    it = Wire(SERVICE_CIDRS, storage)
    it.refuse(Failure(code, "no"))
    assert it.reflector.is_listed
    assert it.wait_s == PACE.optional_wait_s
    assert "servicecidrs" in it.troubles[-1].hint
    storage.put(service_cidr("10.96.0.0/16"))
    assert len(it.settle()) == 1
    it.refuse(Failure(code, "no more"))
    assert it.settle() == []


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
def test_a_server_that_refuses_for_now_is_asked_the_same_again(code: int) -> None:
    it = wire(service("a"))
    it.refuse(Failure(code, "not now"))
    assert not it.reflector.is_listed
    it.settle()
    it.refuse(Failure(code, "not now"))
    it.refuse(Failure(code, "not now"))
    it.settle()
    assert [t.problem for t in it.troubles] == ["not now", "cut", "not now", "not now"]
    assert asked(it) == [*[Asking.INITIAL] * 2, *[Asking.WATCH] * 3]


def test_a_watch_that_is_not_understood_leads_to_a_list() -> None:
    it = wire(service("a"))
    it.settle()
    it.refuse(Failure(400, "invalid resource version"))
    assert it.settle() == []
    assert asked(it)[-1] is Asking.INITIAL


def test_a_missing_right_is_named() -> None:
    it = wire()
    it.refuse(Failure(403, "services is forbidden"))
    assert it.troubles[-1].hint == (
        'allow netproxy\'s user the verbs ["list", "watch"] on resources ["services"] '
        'of apiGroups [""]'
    )


def reflector(dice: float = 1.0) -> Reflector:
    return Reflector(SERVICES, Outbox(lambda: None), dice=lambda: dice)


def test_it_waits_longer_with_each_failure_up_to_a_limit() -> None:
    it = reflector()
    waits = []
    for _ in range(9):
        it.next_request()
        waits.append(it.ended(0.0, Trouble("refused")))
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    lucky = reflector(dice=0.0)
    lucky.next_request()
    assert lucky.ended(0.0, Trouble("refused")) == 0.25


def test_a_stream_that_lasted_makes_up_for_failures_before() -> None:
    it = reflector()
    for now in range(5):
        it.next_request()
        it.ended(float(now), Trouble("refused"))
    it.next_request()
    it.opened(10.0)
    assert it.ended(10.0 + PACE.healthy_s, Trouble("cut")) == PACE.first_wait_s
    it.next_request()
    it.opened(50.0)
    assert it.ended(50.0 + PACE.healthy_s - 1, Trouble("cut")) == 2 * PACE.first_wait_s


def test_a_watch_whose_time_is_over_is_followed_by_the_next_at_once() -> None:
    it = reflector()
    it.next_request()
    it.opened(0.0)
    assert it.ended(400.0, None) == 0.0
    it.next_request()
    it.opened(400.0)
    assert it.ended(400.1, None) == PACE.first_wait_s  # but not if that is over at once


@pytest.mark.parametrize(("asked_s", "waited_s"), [(0.0, 0.5), (7.0, 7.0), (1e9, 300.0)])
def test_it_waits_as_long_as_the_server_asks_for(asked_s: float, waited_s: float) -> None:
    it = reflector()
    it.next_request()
    trouble = it.refused(Failure(429, "busy", retry_after_s=asked_s))
    assert it.ended(0.0, trouble) == waited_s


def test_versions_that_are_no_numbers_are_compared_for_equality() -> None:
    it = reflector()
    it.next_request()
    line = (
        '{{"type":"{}","object":{{"metadata":{{"name":"a","resourceVersion":"{}"}},'
        '"spec":{{"clusterIP":"10.0.0.1","ports":[{{"port":{}}}]}}}}}}'
    )
    outbox = it._outbox
    it.take_line(line.format("ADDED", "x9", 80).encode())
    assert len(outbox.take().events) == 1
    it.take_line(line.format("MODIFIED", "x9", 81).encode())
    assert outbox.take().events == ()
    it.take_line(line.format("MODIFIED", "x10", 81).encode())
    (event,) = outbox.take().events
    assert isinstance(event.object, Service)  # type: ignore[union-attr]
