"""What a cluster is given: read by those who will read it, and no right more than is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from netproxy.cli import run_command_line
from netproxy.cli.run import run
from netproxy.config.decode import decode_documents
from netproxy.config.problems import Problems
from netproxy.config.settings import make_settings
from netproxy.core.config import ProxyMode
from netproxy.deploy.manifest import RULES, plan_manifest
from netproxy.deploy.wishes import (
    ApiServer,
    Wishes,
    read_api_server,
    read_cluster_cidrs,
    read_image,
    read_metrics_address,
    read_namespace,
)
from netproxy.errors import EXIT_BAD_INPUT, EXIT_OK, ConfigError
from netproxy.render.deploy import render_manifest
from tests.unit.deploy.judges import (
    NotInTheApi,
    kubectl,
    missing,
    read_documents,
    read_object,
    through_kubectl,
)
from tests.unit.deploy.receiver import Receiver
from tests.unit.deploy.rights import granted, needed

PLAIN = Wishes("registry.example/netproxy:0.1.0", ApiServer("192.0.2.10", 6443))
CHOICES = {
    "plain": PLAIN,
    "iptables": PLAIN._replace(mode=ProxyMode.IPTABLES),
    "legacy": PLAIN._replace(legacy_iptables=True),
    "without init": PLAIN._replace(init=False),
    "everything": PLAIN._replace(
        image="registry.example:5000/a/b@sha256:" + 64 * "0",
        api_server=ApiServer("fd00::10", 443),
        namespace="no",  # a boolean in YAML 1.1
        cluster_cidrs=read_cluster_cidrs(["fd00:244::/56", "10.244.0.0/16"]),
        metrics_bind_address="[::]:10249",
    ),
}
every_choice = pytest.mark.parametrize("wishes", CHOICES.values(), ids=CHOICES)


def printed(wishes: Wishes) -> str:
    return render_manifest(plan_manifest(wishes))


def documents(wishes: Wishes) -> dict[str, Any]:
    return read_documents(printed(wishes))


def pod(wishes: Wishes) -> Any:
    return documents(wishes)["DaemonSet"]["spec"]["template"]["spec"]


def container(wishes: Wishes) -> Any:
    (only,) = pod(wishes)["containers"]
    return only


def configuration(wishes: Wishes) -> Any:
    return yaml.safe_load(documents(wishes)["ConfigMap"]["data"]["config.yaml"])


@every_choice
def test_the_official_client_knows_every_field(wishes: Wishes) -> None:
    read = {kind: read_object(document) for kind, document in documents(wishes).items()}
    assert list(read) == [
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "DaemonSet",
    ]
    template = read["DaemonSet"].spec.template
    assert template.spec.service_account_name == read["ServiceAccount"].metadata.name
    assert template.metadata.labels == read["DaemonSet"].spec.selector.match_labels
    (subject,) = read["ClusterRoleBinding"].subjects
    assert subject.name == read["ServiceAccount"].metadata.name
    assert read["ClusterRoleBinding"].role_ref.name == read["ClusterRole"].metadata.name
    places = {
        read["ServiceAccount"].metadata.namespace,
        read["ConfigMap"].metadata.namespace,
        read["DaemonSet"].metadata.namespace,
        subject.namespace,
    }
    assert places == {wishes.namespace}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.update(hostNetwrok=True), "hostNetwrok"),
        (lambda spec: spec.update(hostNetwork="yes"), "hostNetwork: 'yes' is no bool"),
        (lambda spec: spec["containers"][0].update(image=True), "image: True is no str"),
        (lambda spec: spec["tolerations"][0].update(tolerationSeconds=True), "is no int"),
        (lambda spec: spec.update(volumes={}), "is no list"),
    ],
)
def test_this_judge_is_strict(change: Any, words: str) -> None:
    document = documents(PLAIN)["DaemonSet"]
    change(document["spec"]["template"]["spec"])
    with pytest.raises(NotInTheApi, match=words):
        read_object(document)


@every_choice
def test_kubectl_keeps_every_field(wishes: Wishes) -> None:
    text = printed(wishes)
    workload = through_kubectl(text, "resources", "--limits=cpu=7")
    assert missing(documents(wishes)["DaemonSet"], workload) == []
    binding = through_kubectl(text, "subject", "--user=somebody")
    assert missing(documents(wishes)["ClusterRoleBinding"], binding) == []


@every_choice
def test_kubectl_applies_it(wishes: Wishes, tmp_path: Path) -> None:
    with Receiver() as server:
        config = server.write_kubeconfig(tmp_path / "kubeconfig")
        said = kubectl(
            f"--kubeconfig={config}",
            f"--cache-dir={tmp_path}",
            *("apply", "--validate=false", "-f", "-"),  # the server has no schemas
            stdin=printed(wishes),
        )
    assert [line.partition("/")[0] for line in said.splitlines()] == [
        "serviceaccount",
        "clusterrole.rbac.authorization.k8s.io",
        "clusterrolebinding.rbac.authorization.k8s.io",
        "configmap",
        "daemonset.apps",
    ]
    for path, created in server.objects.items():
        assert missing(documents(wishes)[created["kind"]], created) == []
        read_object(created)
        is_in_namespace = f"/namespaces/{wishes.namespace}/" in path
        assert is_in_namespace == ("namespace" in created["metadata"])


def test_kubectl_loses_what_it_does_not_know() -> None:
    text = printed(PLAIN).replace("hostNetwork: true", "hostNetwrok: true")
    workload = through_kubectl(text, "resources", "--limits=cpu=7")
    said = read_documents(text)["DaemonSet"]
    assert missing(said, workload) == [".spec.template.spec.hostNetwrok"]


REQUESTS = (
    ("GET", "/api/v1/services", ""),
    ("GET", "/api/v1/services", "watch=true"),
    ("GET", "/api/v1/nodes", "fieldSelector=metadata.name%3Dnode-1"),
    ("GET", "/api/v1/nodes", "fieldSelector=metadata.name%3Dnode-1&watch=true"),
    ("GET", "/apis/discovery.k8s.io/v1/endpointslices", ""),
    ("GET", "/apis/discovery.k8s.io/v1/endpointslices", "watch=true"),
    ("GET", "/apis/networking.k8s.io/v1/servicecidrs", ""),
    ("GET", "/apis/networking.k8s.io/v1/servicecidrs", "watch=true"),
    # An event, and that it happened again.
    ("POST", "/apis/events.k8s.io/v1/namespaces/default/events", ""),
    ("PATCH", "/apis/events.k8s.io/v1/namespaces/default/events/node-1.1", ""),
)
"""All that is asked of an API server, without what does not matter for rights."""


def test_rights_are_those_that_are_used() -> None:
    role = documents(PLAIN)["ClusterRole"]
    assert granted(role) == {needed(*request) for request in REQUESTS}
    verbs = [(resource, v) for r in RULES for resource in r.resources for v in r.verbs]
    assert len(verbs) == len(REQUESTS)


def test_the_token_is_mounted_for_our_pods_only() -> None:
    assert documents(PLAIN)["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(PLAIN)["automountServiceAccountToken"] is True


@every_choice
def test_the_proxy_can_do_nothing_but_its_work(wishes: Wishes) -> None:
    is_legacy = wishes.legacy_iptables or wishes.mode is ProxyMode.IPTABLES
    assert container(wishes)["securityContext"] == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {
            "drop": ["ALL"],
            "add": ["NET_ADMIN", "NET_RAW"] if is_legacy else ["NET_ADMIN"],
        },
    }
    assert pod(wishes)["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & set(pod(wishes))


@every_choice
def test_only_the_init_container_is_privileged(wishes: Wishes) -> None:
    privileged = [
        c
        for c in [*pod(wishes).get("initContainers", []), *pod(wishes)["containers"]]
        if c["securityContext"].get("privileged")
    ]
    assert [c["name"] for c in privileged] == (["init"] if wishes.init else [])
    for c in privileged:
        assert c["args"] == [*container(wishes)["args"], "--init-only"]


@every_choice
def test_of_the_host_only_the_lock_is_seen(wishes: Wishes) -> None:
    is_legacy = wishes.legacy_iptables or wishes.mode is ProxyMode.IPTABLES
    seen = [v["hostPath"]["path"] for v in pod(wishes)["volumes"] if "hostPath" in v]
    assert seen == (["/run/xtables.lock"] if is_legacy else [])
    mounted = {m["name"]: m["mountPath"] for m in container(wishes)["volumeMounts"]}
    assert mounted.keys() == {v["name"] for v in pod(wishes)["volumes"]}


@every_choice
def test_the_api_server_is_found_without_the_service_kubernetes(wishes: Wishes) -> None:
    for c in [*pod(wishes).get("initContainers", []), *pod(wishes)["containers"]]:
        environment = {entry["name"]: entry.get("value") for entry in c["env"]}
        assert environment == {
            "NODE_NAME": None,
            "KUBERNETES_SERVICE_HOST": wishes.api_server.host,
            "KUBERNETES_SERVICE_PORT": str(wishes.api_server.port),
        }
    assert pod(wishes)["dnsPolicy"] == "Default"


@every_choice
def test_probes_ask_where_health_is_served(wishes: Wishes) -> None:
    port = int(configuration(wishes)["healthzBindAddress"].rpartition(":")[2])
    probes = [container(wishes)[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/livez", "port": port}, {"path": "/readyz", "port": port}]


def test_the_configuration_says_what_was_asked_for() -> None:
    plain = configuration(PLAIN)
    assert plain == {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "healthzBindAddress": "0.0.0.0:10256",
        "oomScoreAdj": -997,
        "clientConnection": {"kubeconfig": ""},
    }
    assert configuration(CHOICES["iptables"]) == plain | {"mode": "iptables"}
    assert configuration(CHOICES["everything"]) == plain | {
        "clusterCIDR": "fd00:244::/56,10.244.0.0/16",
        "healthzBindAddress": "[::]:10256",
        "metricsBindAddress": "[::]:10249",
    }


@every_choice
def test_netproxy_understands_what_it_prints(wishes: Wishes) -> None:
    problems = Problems()
    read, warnings = decode_documents([configuration(wishes)], problems)
    assert (problems.found, warnings) == ([], [])
    settings = make_settings(read, hostname="node-1")
    assert settings.proxy.mode is wishes.mode
    assert settings.oom_score_adj == -997
    assert settings.health_address is not None
    assert settings.health_address.port == 10256
    context = run.make_context("run", list(container(wishes)["args"][1:]))
    assert context.params["config"].startswith("/etc/netproxy/")
    assert context.params["hostname_override"] == "$(NODE_NAME)"


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    everything = CHOICES["everything"]._replace(init=False, legacy_iptables=True)
    code = run_command_line(
        [
            *("deploy", "manifest", "--image", everything.image),
            *("--api-server", "https://[fd00::10]/", "--namespace", "no"),
            *("--cluster-cidr", "fd00:244::/56,10.244.0.0/16", "--metrics-bind-address"),
            *("[::]:10249", "--without-init", "--legacy-iptables"),
        ]
    )
    assert code == EXIT_OK
    assert capsys.readouterr().out == printed(everything)


@pytest.mark.parametrize("flag", ["--image", "--api-server"])
def test_what_nobody_can_guess_must_be_said(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"--image": "a", "--api-server": "b"}
    del said[flag]
    (words,) = said.items()
    assert run_command_line(["deploy", "manifest", *words]) == EXIT_BAD_INPUT
    assert f"missing option '{flag}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://192.0.2.1:6443", ApiServer("192.0.2.1", 6443)),
        ("https://api.example/", ApiServer("api.example", 443)),
        ("localhost:1", ApiServer("localhost", 1)),
        ("[fd00::1]", ApiServer("fd00::1", 443)),
    ],
)
def test_api_server_in_any_spelling(text: str, place: ApiServer) -> None:
    assert read_api_server(text) == place


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://192.0.2.1:6443", "https://", "https://:6443", "fd00::1", "a:0", "a:65536"),
        *("a:b", "https://a/path", "user@host", "[192.0.2.1]x", "[fd00::g]:1", "a b", "-a"),
    ],
)
def test_api_server_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--api-server"):
        read_api_server(text)


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "-x", '"'])
def test_image_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--image"):
        read_image(text)


@pytest.mark.parametrize("text", ["", "A", "a_b", "-a", "a-", "a.b", 64 * "a"])
def test_namespace_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--namespace"):
        read_namespace(text)


@pytest.mark.parametrize(
    "text", ["10249", ":10249", "0.0.0.0", "0.0.0.0:", "::1:10249", "[0.0.0.0]:1", "a:1", "[::]:0"]
)
def test_metrics_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--metrics-bind-address"):
        read_metrics_address(text)


@pytest.mark.parametrize(
    ("words", "problem"),
    [(["10.0.0.0"], "10.0.0.0"), (["10.0.0.0/8", "11.0.0.0/8"], "more than one prefix")],
)
def test_cluster_cidrs_that_are_none(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=f"--cluster-cidr.*{problem}"):
        read_cluster_cidrs(words)
