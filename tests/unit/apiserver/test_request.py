"""What paths and queries mean; the wording is Kubernetes 1.36.2's."""

from __future__ import annotations

import pytest

from netproxy.api.resources import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    RESOURCES,
    SERVICES,
    Resource,
)
from netproxy.api.status import StatusError
from netproxy.apiserver.request import Place, find_place, list_options, parse_query


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/api/v1/services", Place(SERVICES)),
        ("/api/v1/namespaces/default/services", Place(SERVICES, "default")),
        ("/api/v1/namespaces/default/services/web", Place(SERVICES, "default", "web")),
        ("/api/v1/namespaces/a/services/w/status", Place(SERVICES, "a", "w", "status")),
        ("/api/v1/namespaces/a/pods/p/binding", Place(PODS, "a", "p", "binding")),
        ("/api/v1/namespaces", Place(NAMESPACES)),
        ("/api/v1/namespaces/a", Place(NAMESPACES, "", "a")),
        ("/api/v1/namespaces/a/status", Place(NAMESPACES, "", "a", "status")),
        ("/api/v1/namespaces/a/finalize", Place(NAMESPACES, "", "a", "finalize")),
        ("/api/v1/nodes/n%2F1", Place(NODES, "", "n/1")),
        (
            "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/s",
            Place(ENDPOINT_SLICES, "a", "s"),
        ),
        ("/api/v1/nosuch", None),
        ("/api/v1", None),
        ("/", None),
        ("/api/v2/services", None),
        ("/api/v1/services/web", None),
        ("/api/v1/namespaces/a/services/w/scale", None),
        ("/api/v1/namespaces/a/services/w/status/x", None),
        ("/api/v1/namespaces/a/nodes/n", None),
        ("/apis/apps/v1/services", None),
    ],
)
def test_paths_lead_to_objects(path: str, place: Place | None) -> None:
    assert find_place(path) == place


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.qualified)
def test_each_resource_is_found_where_it_says_it_is(resource: Resource) -> None:
    namespace = "team" if resource.namespaced else ""
    assert find_place(resource.path(namespace, "x")) == Place(resource, namespace, "x")
    assert find_place(resource.path()) == Place(resource)
    for subresource in resource.subresources:
        path = resource.path(namespace, "x", subresource)
        assert find_place(path) == Place(resource, namespace, "x", subresource)


def test_of_a_parameter_that_comes_twice_the_first_counts() -> None:
    assert parse_query("a=1&a=2&b=%3D&c") == {"a": "1", "b": "=", "c": ""}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "watch=true&sendInitialEvents=true",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            'Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
        ("watch=1&resourceVersionMatch=Exact", "unless sendInitialEvents is provided"),
        ("sendInitialEvents=true", "sendInitialEvents is forbidden for list"),
        ("resourceVersionMatch=Exact", "forbidden unless resourceVersion is provided"),
        ("resourceVersionMatch=Exact&resourceVersion=0", 'is forbidden for resourceVersion "0"'),
        ("resourceVersionMatch=Near&resourceVersion=1", 'Unsupported value: "Near"'),
    ],
)
def test_options_that_contradict_each_other_are_invalid(query: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        list_options(parse_query(query))
    assert caught.value.code == 422
    assert message in caught.value.message
    assert caught.value.to_object()["details"]["kind"] == "ListOptions"


@pytest.mark.parametrize(
    "query",
    [
        "watch=perhaps",
        "limit=-1",
        "limit=x",
        "timeoutSeconds=1.5",
        "resourceVersion=abc",
        "continue=x&resourceVersion=5",
    ],
)
def test_options_that_are_none_are_bad_requests(query: str) -> None:
    with pytest.raises(StatusError) as caught:
        list_options(parse_query(query))
    assert caught.value.code == 400
