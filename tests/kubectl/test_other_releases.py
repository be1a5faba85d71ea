"""The kubectl of this host's distribution, which may be ten releases older: what people type."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.kubectl.served import Kubectl, Refused

INSTALLED = shutil.which("kubectl")

pytestmark = pytest.mark.skipif(
    INSTALLED is None and os.environ.get("NETPROXY_REQUIRE") != "netns",
    reason="needs kubectl (Debian: kubernetes-client)",
)

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web-1", "labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "none",
                "command": ["sleep", "1"],
                "ports": [{"name": "http", "containerPort": 8080}],
            }
        ]
    },
}


def service(port: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "my-service"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": port, "targetPort": "http"}]},
    }


@pytest.fixture
def old(admin_config: Path, kubectl: Kubectl) -> Kubectl:
    """The installed one, in a namespace of its own."""
    assert INSTALLED is not None, "kubectl is not installed"
    return Kubectl(admin_config, kubectl.namespace, INSTALLED)


def test_the_recorded_script(old: Kubectl) -> None:
    """The commands of the recording, one after the other."""
    assert "Server Version" in old("version")
    assert "services" in old("api-resources")
    assert "default" in old("get", "namespaces")
    assert "service/my-service created" in old("apply", "-f", "-", said=service(80))
    assert "service/my-service unchanged" in old("apply", "-f", "-", said=service(80))
    assert "service/my-service configured" in old("apply", "-f", "-", said=service(81))
    assert "81/TCP" in old("get", "svc", "-o", "wide")
    assert "pod/web-1 created" in old("apply", "-f", "-", said=POD)
    assert "web-1" in old("get", "pods", "-l", "app=web")
    assert "Port:" in old("describe", "svc", "my-service")
    patch = json.dumps({"spec": {"sessionAffinity": "ClientIP"}})
    assert "patched" in old("patch", "svc", "my-service", "-p", patch)
    replace = json.dumps([{"op": "replace", "path": "/spec/ports/0/port", "value": 82}])
    assert "patched" in old("patch", "svc", "my-service", "--type=json", "-p", replace)
    assert "labeled" in old("label", "svc", "my-service", "tier=web")
    assert "annotated" in old("annotate", "svc", "my-service", "note=hello")
    assert "created" in old("create", "service", "nodeport", "np", "--tcp=80:8080")
    assert "exposed" in old("expose", "pod", "web-1", "--port=80", "--name=exposed")
    with pytest.raises(Refused, match="NotFound"):
        old("get", "svc", "nosuch")
    with pytest.raises(Refused, match=r"[Ii]nvalid"):
        old("create", "service", "clusterip", "bad_name", "--tcp=80:8080")
    assert "yes" in old("auth", "can-i", "list", "services")
    assert "FIELD" in old("explain", "service.spec.ports").upper()
    assert 'service "np" deleted' in old("delete", "svc", "np")
    assert "deleted" in old("delete", "pod", "web-1", "--grace-period=0", "--force")


def test_deployments(old: Kubectl) -> None:
    old("create", "deployment", "web", "--image=none", "--replicas=2", "--", "sleep", "1")
    old("scale", "deployment", "web", "--replicas=3")
    assert json.loads(old("get", "deployment", "web", "-o", "json"))["spec"]["replicas"] == 3
    old("expose", "deployment", "web", "--port=80")
    spec = json.loads(old("get", "svc", "web", "-o", "json"))["spec"]
    assert spec["selector"] == {"app": "web"}
    old("rollout", "restart", "deployment", "web")
    assert "revision" in old("rollout", "history", "deployment", "web").lower()
    old("delete", "deployment", "web")
