"""What kubectl knows of the types: ``explain``, and objects that it judges itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.kubectl.served import Kubectl, Refused
from tests.unit.apiserver.asking import service


@pytest.mark.parametrize(
    ("path", "types"),
    [
        (
            "service.spec.ports",
            {
                "appProtocol": "string", "name": "string", "nodePort": "integer",
                "port": "integer", "protocol": "string", "targetPort": "IntOrString",
            },
        ),
        (
            "pod.spec.containers.resources",
            {
                "claims": "[]ResourceClaim", "limits": "map[string]Quantity",
                "requests": "map[string]Quantity",
            },
        ),
        ("endpointslice.endpoints.hints", {"forNodes": "[]ForNode", "forZones": "[]ForZone"}),
    ],
)  # fmt: skip
def test_fields_are_explained(kubectl: Kubectl, path: str, types: dict[str, str]) -> None:
    told = kubectl("explain", path)
    assert dict(re.findall(r"^  (\w+)\t<(.*?)>", told, re.MULTILINE)) == types


def test_every_kind_is_explained(kubectl: Kubectl) -> None:
    for name in kubectl("api-resources", "--verbs=list", "-o", "name").split():
        told = kubectl("explain", name.partition(".")[0], "--recursive")
        assert "metadata\t<ObjectMeta>" in told, name


def test_an_object_in_a_list_is_judged_by_kubectl_itself(kubectl: Kubectl) -> None:
    def listed(*items: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "List", "items": list(items)}

    resources = {"limits": {"cpu": 1, "memory": "64Mi"}}
    container = {"name": "c", "image": "x", "resources": resources}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [container]},
    }
    command = ("create", "--dry-run=server", "-o", "name", "-f", "-")
    said = listed(service(ports=[{"port": 80, "targetPort": "http"}]), pod)
    assert kubectl(*command, said=said) == "service/web\npod/p\n"
    with pytest.raises(Refused, match='unknown field "bogus" in'):
        kubectl(*command, said=listed(service(bogus=1)))
