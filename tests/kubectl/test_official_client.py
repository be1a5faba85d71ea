"""The official Python client of Kubernetes against our server: every kind, by its typed calls."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

PATIENCE_S = 30
# Half of it has types, and half of those are wrong.
client: Any = kubernetes.client
config: Any = kubernetes.config
dynamic: Any = kubernetes.dynamic
watch: Any = kubernetes.watch


@pytest.fixture(scope="module")
def api(admin_config: Path) -> Iterator[Any]:
    """A client with the administrator's kubeconfig; its CA and token are checked and sent."""
    with config.new_client_from_config(str(admin_config)) as made:
        yield made


@pytest.fixture
def core(api: Any) -> Any:
    return client.CoreV1Api(api)


@pytest.fixture
def space(core: Any) -> str:
    name = f"client-{uuid.uuid4().hex[:8]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    return name


def service(name: str = "web", **spec: Any) -> Any:
    return client.V1Service(
        metadata=client.V1ObjectMeta(name=name, labels={"app": name}),
        spec=client.V1ServiceSpec(
            selector={"app": name}, ports=[client.V1ServicePort(port=80)], **spec
        ),
    )


def pod(name: str, app: str) -> Any:
    container = client.V1Container(name="c", image="i", command=["sleep", "1"])
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, labels={"app": app}),
        spec=client.V1PodSpec(containers=[container]),
    )


def test_a_services_life(core: Any, space: str) -> None:
    made = core.create_namespaced_service(space, service(type="NodePort"))
    assert made.spec.cluster_ip.startswith("10.96.")
    assert 30000 <= made.spec.ports[0].node_port <= 32767
    assert made.spec.session_affinity == "None"
    made.spec.session_affinity = "ClientIP"
    changed = core.replace_namespaced_service("web", space, made)
    assert changed.spec.session_affinity_config.client_ip.timeout_seconds == 10800
    with pytest.raises(ApiException) as caught:
        core.replace_namespaced_service("web", space, made)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_service("web", space, {"metadata": {"labels": {"a": "b"}}})
    assert patched.metadata.labels == {"app": "web", "a": "b"}
    found = core.list_namespaced_service(space, label_selector="a=b")
    assert [each.metadata.name for each in found.items] == ["web"]
    gone = core.delete_namespaced_service("web", space)
    assert gone.metadata.uid == made.metadata.uid
    with pytest.raises(ApiException) as caught:
        core.read_namespaced_service("web", space)
    assert caught.value.status == 404


def test_what_is_wrong_is_told_with_its_field(core: Any, space: str) -> None:
    wrong = {
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 0}, {"port": 80, "name": "x"}]},
    }
    with pytest.raises(ApiException) as caught:
        core.create_namespaced_service(space, wrong)
    assert caught.value.status == 422
    for field in ("spec.ports[0].port", "spec.ports[0].name"):
        assert field in str(caught.value.body)


def test_a_watch_tells_what_happens(core: Any, space: str) -> None:
    version = core.list_namespaced_service(space).metadata.resource_version

    def act() -> None:
        core.create_namespaced_service(space, service("one"))
        core.patch_namespaced_service("one", space, {"metadata": {"labels": {"n": "2"}}})
        core.delete_namespaced_service("one", space)

    acting = threading.Timer(0.1, act)
    acting.start()
    heard = []
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_service,
        space,
        resource_version=version,
        timeout_seconds=PATIENCE_S,
    ):
        heard.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            watcher.stop()
    acting.join()
    assert heard == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


def test_controllers_answer_to_typed_objects(api: Any, core: Any, space: str) -> None:
    """A Pod with an address is an endpoint in a slice and in Endpoints."""
    core.create_namespaced_service(space, service())
    core.create_namespaced_pod(space, pod("web-1", "web"))
    # A patch: the scheduler writes this status, too.
    status = client.V1PodStatus(
        phase="Running",
        pod_ip="10.244.0.9",
        pod_ips=[client.V1PodIP(ip="10.244.0.9")],
        conditions=[client.V1PodCondition(type="Ready", status="True")],
    )
    core.patch_namespaced_pod_status("web-1", space, client.V1Pod(status=status))
    slices = client.DiscoveryV1Api(api)
    watcher = watch.Watch()
    for event in watcher.stream(
        slices.list_namespaced_endpoint_slice, space, timeout_seconds=PATIENCE_S
    ):
        endpoints = event["object"].endpoints or []
        if [each.addresses for each in endpoints if each.conditions.ready] == [["10.244.0.9"]]:
            watcher.stop()
            break
    else:
        pytest.fail("no slice has the Pod")


def test_every_kind_can_be_listed_by_its_typed_call(api: Any, core: Any) -> None:
    networking, apps = client.NetworkingV1Api(api), client.AppsV1Api(api)
    lists = [
        core.list_service_for_all_namespaces(),
        core.list_endpoints_for_all_namespaces(),
        core.list_pod_for_all_namespaces(),
        core.list_node(),
        core.list_namespace(),
        core.list_event_for_all_namespaces(),
        core.list_config_map_for_all_namespaces(),
        client.DiscoveryV1Api(api).list_endpoint_slice_for_all_namespaces(),
        networking.list_service_cidr(),
        networking.list_ip_address(),
        apps.list_deployment_for_all_namespaces(),
        apps.list_replica_set_for_all_namespaces(),
        client.CoordinationV1Api(api).list_lease_for_all_namespaces(),
    ]
    assert all(each.metadata.resource_version for each in lists)
    assert [each.metadata.name for each in lists[0].items if each.metadata.namespace == "default"]


def test_pages(core: Any, space: str) -> None:
    for number in range(5):
        core.create_namespaced_config_map(
            space, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"m{number}"))
        )
    names, token = [], ""
    while True:
        page = core.list_namespaced_config_map(space, limit=2, _continue=token)
        names += [each.metadata.name for each in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"m{number}" for number in range(5)]


def test_deployments_by_server_side_apply(api: Any, space: str) -> None:
    """The dynamic client finds kinds by discovery."""
    found = dynamic.DynamicClient(api).resources.get(api_version="apps/v1", kind="Deployment")
    container = {"name": "c", "image": "i", "command": ["x"]}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container]},
            },
        },
    }
    made = found.server_side_apply(body=body, name="web", namespace=space, field_manager="one")
    assert made.spec.replicas == 2
    body["spec"]["replicas"] = 3  # type: ignore[index]
    with pytest.raises(ApiException) as caught:
        found.server_side_apply(body=body, name="web", namespace=space, field_manager="two")
    assert caught.value.status == 409
    assert "conflict with" in str(caught.value.body)
    forced = found.server_side_apply(
        body=body, name="web", namespace=space, field_manager="two", force_conflicts=True
    )
    assert forced.spec.replicas == 3


def test_who_may_do_what(api: Any) -> None:
    asked = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="list", resource="services")
        )
    )
    told = client.AuthorizationV1Api(api).create_self_subject_access_review(asked)
    assert told.status.allowed


def test_nobody_else_is_let_in(api: Any) -> None:
    own = api.configuration
    stranger = client.Configuration(host=own.host)
    stranger.ssl_ca_cert = own.ssl_ca_cert
    with client.ApiClient(stranger) as nobody:
        with pytest.raises(ApiException) as caught:
            client.CoreV1Api(nobody).list_namespace()
        assert caught.value.status == 401
        assert client.VersionApi(api).get_code().major == "1"
