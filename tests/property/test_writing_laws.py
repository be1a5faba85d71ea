"""Whatever clients write: the server answers, and has only what its own schema allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)  # fmt: skip
from netproxy.apiserver import schema
from tests.unit.apiserver.asking import (
    APPLY,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    Told,
    deployment,
    serve,
    service,
)

_POD = {
    "containers": [
        {
            "name": "c",
            "image": "x",
            "ports": [{"containerPort": 80, "name": "http"}],
            "env": [{"name": "A", "value": "b"}],
            "resources": {"limits": {"cpu": "1"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "livenessProbe": {"httpGet": {"port": "http"}},
        }
    ],
    "volumes": [{"name": "v", "emptyDir": {}}],
    "tolerations": [{"operator": "Exists"}],
}
_TIME = "2026-11-23T01:02:03.000004Z"
_MADE: dict[Resource, dict[str, Any]] = {
    SERVICES: service(
        ports=[{"port": 80, "name": "a"}, {"port": 53, "protocol": "UDP", "name": "b"}],
        externalIPs=["192.0.2.1"],
        type="LoadBalancer",
    ),
    DEPLOYMENTS: deployment(replicas=2, strategy={"type": "Recreate"}),
    REPLICA_SETS: {**deployment(), "kind": "ReplicaSet"},
    CONFIG_MAPS: {"data": {"a": "b"}, "binaryData": {"x": "aGk="}},
    PODS: {"spec": _POD},
    NODES: {
        "spec": {"podCIDR": "10.244.3.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]},
    },
    NAMESPACES: {},
    ENDPOINTS: {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]},
    ENDPOINT_SLICES: {
        "addressType": "IPv4",
        "ports": [{"port": 80, "name": "x"}],
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}],
    },
    LEASES: {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 3, "renewTime": _TIME}},
    EVENTS: {
        "eventTime": _TIME,
        "reportingController": "example.com/it",
        "reportingInstance": "here",
        "action": "Doing",
        "reason": "Done",
        "type": "Normal",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    },
}
_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [
        None, True, 0, -1, 1.5, 2**70, "", "x", "TCP", "None", "NodePort", "ExternalName", "Local",
        "10.96.0.5", "fd00::1", "50%", [], {}, [None], [{}], {"a": None}, [[1]], ["x"], "delete",
    ]
)  # fmt: skip
_NAMES = st.sampled_from(
    [
        "type", "zzz", "$patch", "$retainKeys", "$setElementOrder/ports", "name", "protocol",
        "clusterIP", "ipFamilies", "replicas", "managedFields", "resourceVersion", "finalizers",
        "deletionTimestamp", "ownerReferences", "status", "apiVersion",
    ]
)  # fmt: skip


class _Slip(NamedTuple):
    """One thing that goes wrong on the way to the server."""

    place: float
    action: str
    name: str
    junk: Any


_SLIPS = st.lists(
    st.builds(
        _Slip,
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["drop", "replace", "repeat", "add"]),
        _NAMES,
        _JUNK,
    ),
    max_size=3,
)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys, from the outside."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _spoilt(obj: Any, slips: list[_Slip]) -> Any:
    obj = deepcopy(obj)
    for slip in slips:
        places = list(_places(obj))
        if not places:
            break
        inside, key = places[int(slip.place * len(places))]
        if slip.action == "drop":
            del inside[key]
        elif slip.action == "replace":
            inside[key] = deepcopy(slip.junk)
        elif isinstance(inside, list):
            inside.append(deepcopy(inside[key]))
        else:
            inside[slip.name] = deepcopy(slip.junk)
    return obj


def _operations(obj: dict[str, Any], slips: list[_Slip]) -> list[dict[str, Any]]:
    def path(slip: _Slip) -> str:
        names: list[str] = []
        value: Any = obj
        while isinstance(value, dict | list) and value and len(names) < 1 + slip.place * 6:
            key = (list(value) if isinstance(value, dict) else range(len(value)))[
                int(slip.place * len(value))
            ]
            names.append(str(key))
            value = value[key]
        return "/" + "/".join(names)

    verbs = {"drop": "remove", "replace": "replace", "repeat": "copy", "add": "add"}
    return [
        {"op": verbs[each.action], "path": path(each), "from": "/spec", "value": each.junk}
        for each in slips
    ]


def _path(resource: Resource) -> str:
    place = "/namespaces/default" if resource.namespaced else ""
    return f"{resource.root}{place}/{resource.plural}"


def _written(api: Api, path: str, obj: dict[str, Any], slips: list[_Slip], how: str) -> Told:
    spoilt, manager = _spoilt(obj, slips), "fieldManager=b"
    if how == "PUT":
        return api.ask("PUT", f"{path}?{manager}", spoilt)
    if how == JSON_PATCH:
        return api.patch(path, _operations(obj, slips), sent=how, query=manager)
    force = "&force=true" if how == APPLY else ""
    return api.patch(path, spoilt, sent=how, query=manager + force)


def _without_null(value: Any) -> bool:
    return value is not None and all(
        _without_null(container[key]) for container, key in _places(value)
    )


def test_whatever_is_written_is_answered_and_only_what_fits_is_kept(tmp_path: Path) -> None:
    numbers = count()

    with serve(tmp_path) as api:

        @given(
            st.sampled_from(list(_MADE)),
            _SLIPS,
            st.sampled_from(["PUT", MERGE, STRATEGIC, JSON_PATCH, APPLY]),
            st.booleans(),
        )
        def law(resource: Resource, slips: list[_Slip], how: str, is_status: bool) -> None:
            name = f"object-{next(numbers)}"
            head = {"apiVersion": resource.api_version, "kind": resource.kind}
            obj = {**_MADE[resource], **head, "metadata": {"name": name, "labels": {"a": "b"}}}
            obj["metadata"] |= {"namespace": "default"} if resource.namespaced else {}
            made = api.ask("POST", f"{_path(resource)}?fieldManager=a", obj)
            assert made.code == 201, made.body
            path = f"{_path(resource)}/{name}"
            place = f"{path}/status" if is_status and "status" in resource.subresources else path
            told = _written(api, place, obj, slips, how)
            assert told.code < 500, told.body
            kept = api.ask("GET", path).body
            if told.code == 200:
                assert told.body == kept
            assert _without_null(kept)
            schema.check(json.loads(json.dumps(kept)), schema.type_of(resource), "Strict")
            again = api.ask("PUT", path, kept)
            assert (again.code, again.body) == (200, kept)
            api.ask("DELETE", path)

        law()
