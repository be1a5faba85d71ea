"""Commands of kubectl that change what is there: apply, label, patch, edit, scale and their kin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubectl.served import Kubectl, Refused
from tests.unit.apiserver.asking import deployment, service

_APPLY = ("apply", "-f", "-")


def _spec(kubectl: Kubectl, kind: str = "service") -> Any:
    return kubectl.get(kind, "web")["spec"]


def test_apply_makes_changes_and_takes_back_what_it_applied(kubectl: Kubectl) -> None:
    said = service(ports=[{"name": "a", "port": 80}, {"name": "b", "port": 81}])
    assert kubectl(*_APPLY, said=said) == "service/web created\n"
    assert kubectl(*_APPLY, said=said) == "service/web unchanged\n"
    kubectl("label", "service", "web", "by=hand")
    fewer = service(ports=[{"name": "b", "port": 81, "targetPort": 8081}])
    assert kubectl(*_APPLY, said=fewer) == "service/web configured\n"
    found = kubectl.get("service", "web")
    assert found["spec"]["ports"] == [
        {"name": "b", "port": 81, "protocol": "TCP", "targetPort": 8081}
    ]
    assert found["metadata"]["labels"] == {"by": "hand"}


def test_apply_merges_containers_by_name_and_replaces_a_strategy(kubectl: Kubectl) -> None:
    def pods(*containers: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": list(containers)}}

    one = {"name": "one", "image": "one:1", "env": [{"name": "A", "value": "1"}]}
    kubectl(*_APPLY, said=deployment(template=pods(one, {"name": "two", "image": "two:1"})))
    kubectl("set", "env", "deployment/web", "-c", "one", "B=2")
    strategy = {"type": "Recreate"}
    one = {"name": "one", "image": "one:2", "env": [{"name": "C", "value": "3"}]}
    kubectl(*_APPLY, said=deployment(template=pods(one), strategy=strategy))
    spec = _spec(kubectl, "deployment")
    assert spec["strategy"] == strategy
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "one:2"
    assert container["env"] == [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]


def test_diff_tells_what_apply_would_do(kubectl: Kubectl) -> None:
    kubectl(*_APPLY, said=service())
    assert kubectl("diff", "-f", "-", said=service()) == ""
    with pytest.raises(Refused, match=r"^$"):  # its code is 1, its words are on standard output
        kubectl("diff", "-f", "-", said=service(sessionAffinity="ClientIP"))


def test_labels_and_annotations_come_and_go(kubectl: Kubectl) -> None:
    kubectl(*_APPLY, said=service())
    kubectl("label", "service", "web", "a=b", "c=d")
    with pytest.raises(Refused, match="already has a value"):
        kubectl("label", "service", "web", "a=x")
    kubectl("label", "service", "web", "a=x", "--overwrite")
    kubectl("label", "service", "web", "c-")
    kubectl("annotate", "service", "web", "example.com/note=two words")
    metadata = kubectl.get("service", "web")["metadata"]
    assert metadata["labels"] == {"a": "x"}
    assert metadata["annotations"]["example.com/note"] == "two words"
    assert kubectl.owners("service", "web").keys() == {
        "kubectl-annotate", "kubectl-client-side-apply", "kubectl-label",
    }  # fmt: skip
    with pytest.raises(Refused, match="a valid label key must consist of"):
        kubectl("label", "service", "web", "not/a/label=x")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("json", [{"op": "replace", "path": "/spec/ports/0/nodePort", "value": 31999}]),
        ("merge", {"spec": {"ports": [{"port": 80, "nodePort": 31999}]}}),
        ("strategic", {"spec": {"ports": [{"port": 80, "nodePort": 31999}]}}),
    ],
)
def test_patches_of_three_kinds(kubectl: Kubectl, kind: str, patch: object) -> None:
    kubectl(*_APPLY, said=service(type="NodePort"))
    kubectl("patch", "service", "web", f"--type={kind}", "-p", json.dumps(patch))
    expected = {"port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 31999}
    assert _spec(kubectl)["ports"] == [expected]
    told = kubectl("patch", "service", "web", f"--type={kind}", "-p", json.dumps(patch))
    assert told == "service/web patched (no change)\n"
    kubectl("delete", "service", "web")


def test_patches_that_do_not_fit_are_refused_in_kubernetes_words(kubectl: Kubectl) -> None:
    kubectl(*_APPLY, said=service())
    for kind, patch, told in (
        ("json", [{"op": "test", "path": "/spec/type", "value": "NodePort"}], "test failed"),
        ("json", [{"op": "remove", "path": "/spec/no"}], "Unable to remove nonexistent key"),
        ("merge", {"spec": {"type": "Other"}}, 'spec.type: Unsupported value: "Other"'),
        ("merge", {"metadata": {"name": "x"}}, "does not match the name on the URL (web)"),
        ("merge", {"spec": {"clusterIP": "10.96.9.9"}}, "spec.clusterIPs[0]: Invalid value"),
    ):
        with pytest.raises(Refused) as refusal:
            kubectl("patch", "service", "web", f"--type={kind}", "-p", json.dumps(patch))
        assert told in str(refusal.value)


def test_edit_sends_what_the_editor_changed(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl(*_APPLY, said=service())
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/sessionAffinity: None/sessionAffinity: ClientIP/' $1\n")
    editor.chmod(0o755)
    assert kubectl("edit", "service", "web", EDITOR=str(editor)) == "service/web edited\n"
    assert _spec(kubectl)["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


def test_replace_keeps_what_was_allocated(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", said=service(type="NodePort"))
    before = _spec(kubectl)
    changed = service(type="NodePort", selector={"app": "other"})
    assert kubectl("replace", "-f", "-", said=changed) == "service/web replaced\n"
    assert _spec(kubectl) == {**before, "selector": {"app": "other"}}
    assert kubectl.owners("service", "web").keys() == {"kubectl-create", "kubectl-replace"}
    kubectl("delete", "service", "web")


def test_workloads_are_scaled_set_restarted_and_rolled_back(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", said=deployment())
    kubectl("scale", "deployment/web", "--replicas=0")
    with pytest.raises(Refused, match="Expected replicas to be 9, was 0"):
        kubectl("scale", "deployment/web", "--replicas=2", "--current-replicas=9")
    scale = {"spec": {"replicas": 2}}
    patch = ("patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p")
    assert kubectl(*patch, json.dumps(scale)) == "scale.autoscaling/web patched\n"
    kubectl("set", "image", "deployment/web", "c=nginx:2")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "pause", "deployment/web")
    spec = _spec(kubectl, "deployment")
    assert (spec["replicas"], spec["paused"]) == (2, True)
    assert "kubectl.kubernetes.io/restartedAt" in spec["template"]["metadata"]["annotations"]
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "undo", "deployment/web", "--to-revision=1")
    spec = _spec(kubectl, "deployment")
    assert spec["template"]["spec"]["containers"][0]["image"] == "nginx:1"


def test_a_deployment_is_exposed(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=nginx", "--port=8080", "--replicas=0")
    assert _spec(kubectl, "deployment")["replicas"] == 0
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    assert _spec(kubectl)["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 8080}]
    assert _spec(kubectl)["selector"] == {"app": "web"}


def test_nodes_are_tainted_and_cordoned(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace}-node"
    kubectl(
        "create", "-f", "-", said={"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    )
    kubectl("taint", "node", name, "a=b:NoSchedule", "c:NoExecute")
    kubectl("taint", "node", name, "a-")
    kubectl("cordon", name)
    spec = kubectl.get("node", name)["spec"]
    assert spec["unschedulable"] is True
    assert [each["key"] for each in spec["taints"] if each["key"] in {"a", "c"}] == ["c"]
    kubectl("uncordon", name)
    assert "unschedulable" not in kubectl.get("node", name)["spec"]


def test_a_pod_is_copied_with_all_that_it_has(kubectl: Kubectl) -> None:
    """``kubectl debug`` reads JSON and sends protobuf."""
    container = {
        "name": "c",
        "image": "busybox",
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"containerPort": 80, "name": "http"}],
        "securityContext": {"privileged": False, "runAsUser": 0},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
    }
    said = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    kubectl("create", "-f", "-", said=said)
    command = ("debug", "one", "--copy-to=two", "--image=alpine", "-c", "added", "--attach=false")
    kubectl(*command, "--profile=general")
    one, two = kubectl.get("pod", "one")["spec"], kubectl.get("pod", "two")["spec"]
    assert two.pop("containers")[0] == one.pop("containers")[0]
    assert two == {**one, "shareProcessNamespace": True}
