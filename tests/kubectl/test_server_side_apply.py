"""``kubectl apply --server-side``: who owns what, conflicts, and fields that go."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kubectl.served import Kubectl, Refused
from tests.unit.apiserver.asking import deployment, service

_SERVER_SIDE = ("apply", "--server-side", "-f", "-")


def _pod_of(kubectl: Kubectl) -> Any:
    return kubectl.get("deployment", "web")["spec"]["template"]["spec"]


def _containers(*containers: dict[str, Any]) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers)}}
    return deployment(template=template)


def test_what_is_applied_again_changes_nothing(kubectl: Kubectl) -> None:
    assert kubectl(*_SERVER_SIDE, said=service()) == "service/web serverside-applied\n"
    before = kubectl.get("service", "web")
    assert kubectl(*_SERVER_SIDE, said=service()) == "service/web serverside-applied\n"
    assert kubectl.get("service", "web") == before


def test_who_is_in_the_way_is_told_until_it_is_forced(kubectl: Kubectl) -> None:
    kubectl(*_SERVER_SIDE, said=deployment(replicas=2))
    other = (*_SERVER_SIDE, "--field-manager=other")
    changed = _containers({"name": "c", "image": "nginx:2"})
    changed["spec"]["replicas"] = 5
    with pytest.raises(Refused) as refusal:
        kubectl(*other, said=changed)
    assert str(refusal.value).startswith(
        'error: Apply failed with 2 conflicts: conflicts with "kubectl":\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="c"].image\n'
    )
    kubectl(*other, "--force-conflicts", said=changed)
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 5
    owners = kubectl.owners("deployment", "web")
    assert "f:replicas" in owners["~other"]["f:spec"]
    assert "f:replicas" not in owners["~kubectl"]["f:spec"]


def test_fields_that_are_no_longer_applied_go_unless_others_have_them(kubectl: Kubectl) -> None:
    first = {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "x"}]}
    kubectl(
        *_SERVER_SIDE, "--field-manager=one", said=_containers(first, {"name": "b", "image": "b"})
    )
    kubectl(*_SERVER_SIDE, "--field-manager=two", said=_containers({"name": "b", "image": "b"}))
    kubectl(*_SERVER_SIDE, "--field-manager=one", said=_containers({"name": "a", "image": "a:1"}))
    containers = {each["name"]: each for each in _pod_of(kubectl)["containers"]}
    assert containers.keys() == {"a", "b"}
    assert "env" not in containers["a"]
    kubectl(*_SERVER_SIDE, "--field-manager=two", said=_containers({"name": "a"}))
    assert [each["name"] for each in _pod_of(kubectl)["containers"]] == ["a"]


def test_ports_are_told_apart_by_number_and_protocol(kubectl: Kubectl) -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    kubectl(*_SERVER_SIDE, said=service(ports=ports))
    kubectl(*_SERVER_SIDE, said=service(ports=ports[:1]))
    found = kubectl.get("service", "web")["spec"]["ports"]
    assert found == [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}]


def test_who_comes_from_apply_without_the_servers_help_keeps_what_is_his(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", said=service(externalIPs=["192.0.2.1"]))
    assert "kubectl-client-side-apply" in kubectl.owners("service", "web")
    kubectl(*_SERVER_SIDE, said=service(externalIPs=["192.0.2.1"]))
    assert kubectl.owners("service", "web").keys() == {"~kubectl", "~kubectl-last-applied"}
    kubectl(*_SERVER_SIDE, said=service())
    assert "externalIPs" not in kubectl.get("service", "web")["spec"]
    # And back: what the server applied last is what the next patch is made from.
    again = service(externalIPs=["192.0.2.2"])
    assert kubectl("apply", "-f", "-", said=again) == "service/web configured\n"
    assert kubectl("apply", "-f", "-", said=again) == "service/web unchanged\n"
    assert kubectl("apply", "-f", "-", said=service()) == "service/web configured\n"
    assert "externalIPs" not in kubectl.get("service", "web")["spec"]


def test_who_changes_a_field_otherwise_is_in_the_way(kubectl: Kubectl) -> None:
    kubectl(*_SERVER_SIDE, said=deployment(replicas=1))
    kubectl("set", "image", "deployment/web", "c=nginx:7")
    kubectl("scale", "deployment/web", "--replicas=3")
    with pytest.raises(Refused) as refusal:
        kubectl(*_SERVER_SIDE, said=deployment(replicas=1))
    told = str(refusal.value)
    assert 'conflicts with "kubectl" with subresource "scale" using apps/v1:\n- .spec.repl' in told
    assert 'conflicts with "kubectl-set" using apps/v1:\n- .spec.template.spec.containers' in told
    kubectl(*_SERVER_SIDE, "--force-conflicts", said=deployment(replicas=1))
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 1
    assert _pod_of(kubectl)["containers"][0]["image"] == "nginx:1"


def test_a_configuration_that_is_not_understood_is_refused(kubectl: Kubectl) -> None:
    twice = service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}])
    unknown = service(portz=[])
    for said, told in (
        (twice, 'duplicate entries for key [port=80,protocol="TCP"]'),
        (service(ports=[{"name": "a"}]), 'omits key field "port"'),
        (unknown, 'strict decoding error: unknown field "spec.portz"'),
        (service(ports=[{"port": "x"}]), "cannot unmarshal string into Go struct field"),
    ):
        with pytest.raises(Refused) as refusal:
            kubectl(*_SERVER_SIDE, said=said)
        assert told in str(refusal.value)


def test_a_status_is_applied_by_those_who_see_it(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-node"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    kubectl(*_SERVER_SIDE, said={**node, "spec": {"podCIDR": "10.244.77.0/24"}})
    addresses = [{"type": "InternalIP", "address": "192.0.2.1"}]
    seen = {**node, "status": {"addresses": addresses}}
    kubectl(*_SERVER_SIDE, "--subresource=status", "--field-manager=agent", said=seen)
    found = kubectl.get("node", name)
    assert found["status"]["addresses"] == addresses
    assert found["spec"]["podCIDR"] == "10.244.77.0/24"
    owners = kubectl.owners("node", name)
    assert owners["~agent/status"].keys() == {"f:status"}


def test_a_dry_run_is_shown_and_forgotten(kubectl: Kubectl) -> None:
    kubectl(*_SERVER_SIDE, said=service())
    changed = service(sessionAffinity="ClientIP")
    told = kubectl(
        *_SERVER_SIDE, "--dry-run=server", "-o", "jsonpath={.spec.sessionAffinity}", said=changed
    )
    assert told == "ClientIP"
    assert kubectl.get("service", "web")["spec"]["sessionAffinity"] == "None"


def test_sets_of_objects_are_pruned(kubectl: Kubectl) -> None:
    def config_map(name: str) -> dict[str, Any]:
        metadata = {"name": name}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "b"}}

    command = (*_SERVER_SIDE, "--prune", "--applyset=configmaps/all")
    kubectl(*command, said=[config_map("one"), config_map("two")], KUBECTL_APPLYSET="true")
    told = kubectl(*command, said=[config_map("one")], KUBECTL_APPLYSET="true")
    assert told == "configmap/one serverside-applied\nconfigmap/two pruned\n"
