"""Slices and Endpoints, compared with those of Kubernetes 1.36.2's controllers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from netproxy.controllers.endpoint_slices import EndpointSliceController
from netproxy.controllers.endpoints import EndpointsController, MirroringController
from tests.unit.controllers.world import World, run

_FILE = Path(__file__).parents[2] / "data" / "api" / "controllers.json"
_SERVER = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "name", "generateName"}
)


@cache
def _recorded() -> dict[str, dict[str, list[Object]]]:
    found: dict[str, dict[str, list[Object]]] = json.loads(_FILE.read_text("utf-8"))
    return found


def _by_hand(recorded: dict[str, list[Object]]) -> list[Object]:
    label = "endpoints.kubernetes.io/managed-by"
    return [
        each
        for each in recorded["endpoints"]
        if label not in (each["metadata"].get("labels") or {})
    ]


def _moment(name: str) -> dict[str, list[Object]]:
    """All objects of a moment; the later one tells only of what is different."""
    steady, later = _recorded()["steady"], _recorded()[name]
    if later is steady:
        return steady
    leaving: Any = later["pod"]
    pods = [
        leaving if each["metadata"]["name"] == leaving["metadata"]["name"] else each
        for each in steady["pods"]
    ]
    return {**steady, **{k: v for k, v in later.items() if k != "pod"}, "pods": pods}


def _world(recorded: dict[str, list[Object]]) -> World:
    return run(
        EndpointSliceController(),
        EndpointsController(),
        MirroringController(),
        given={
            NODES: recorded["nodes"],
            PODS: recorded["pods"],
            SERVICES: recorded["services"],
            ENDPOINTS: _by_hand(_recorded()["steady"]),
        },
    )


def _order(obj: Any) -> str:
    return json.dumps(obj, sort_keys=True)


def _plain(obj: Any) -> Any:
    """Without what the server makes up, in an order that does not matter."""
    if isinstance(obj, dict):
        left_out = {"creationTimestamp", "annotations"}
        found = {
            name: _plain(each)
            for name, each in obj.items()
            if name not in left_out and each not in (None, [])
        }
        if "metadata" in found:
            found["metadata"] = {
                name: each
                for name, each in obj["metadata"].items()
                if name not in _SERVER | {"annotations"}
            }
        return found
    if isinstance(obj, list):
        return sorted((_plain(each) for each in obj), key=_order)
    return obj


def _sorted(objects: list[Object]) -> list[Any]:
    return sorted((_plain(each) for each in objects), key=_order)


@pytest.mark.parametrize("moment", ["steady", "web-1 terminating"])
def test_slices_are_those_of_kubernetes(moment: str) -> None:
    recorded = _moment(moment)
    theirs = recorded["endpointslices"]
    names = {each["metadata"]["labels"]["kubernetes.io/service-name"] for each in theirs}
    ours = [
        each
        for each in _world(recorded).list(ENDPOINT_SLICES)
        if each["metadata"]["labels"]["kubernetes.io/service-name"] in names
    ]
    assert len(theirs) >= 3
    assert _sorted(ours) == _sorted(theirs)


def test_endpoints_are_those_of_kubernetes() -> None:
    recorded = _moment("steady")
    assert _sorted(_world(recorded).list(ENDPOINTS)) == _sorted(recorded["endpoints"])


def test_a_pod_on_its_way_out_changes_only_the_slices_that_have_it() -> None:
    world = _world(_moment("steady"))
    before = {each["metadata"]["name"]: each for each in world.list(ENDPOINT_SLICES)}
    leaving: Any = _recorded()["web-1 terminating"]["pod"]
    world.put(PODS, leaving)
    world.settle()
    after = {each["metadata"]["name"]: each for each in world.list(ENDPOINT_SLICES)}
    assert after.keys() == before.keys()
    changed = [name for name in after if after[name] is not before[name]]
    for name in changed:
        refs = [each["targetRef"]["name"] for each in after[name]["endpoints"]]
        assert "web-1" in refs
    assert changed
