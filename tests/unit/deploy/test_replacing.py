"""The README's page on replacing kube-proxy, followed literally as far as a shell can."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.deploy.judges import kubectl
from tests.unit.deploy.receiver import DONE, Receiver
from tests.unit.deploy.test_manifest import PLAIN, printed

README = Path(__file__).parents[3] / "README.md"
SETTINGS = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
KUBE_PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
NETPROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets/netproxy"
FORMER = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "kube-proxy", "namespace": "kube-system", "generation": 1},
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "kube-proxy"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "kube-proxy"}},
            "spec": {"nodeSelector": {"kubernetes.io/os": "linux"}, "containers": []},
        },
        "updateStrategy": {"type": "RollingUpdate"},
    },
    "status": DONE,
}
FORMER_SETTINGS = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
    "data": {"config.conf": "kind: KubeProxyConfiguration\n"},
}


def commands(prompt: str) -> list[str]:
    """What the page has one type behind a prompt."""
    page = README.read_text().partition("## Replacing kube-proxy")[2].partition("\n## ")[0]
    blocks = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    return re.findall(rf"^{re.escape(prompt)} (.+)$", "".join(blocks), re.MULTILINE)


def test_the_page_is_about_a_cluster_and_its_nodes() -> None:
    assert {shlex.split(line)[0] for line in commands("$")} == {"kubectl"}
    assert commands("#") == ["nft delete table ip netproxy", "nft delete table ip6 netproxy"]


@pytest.fixture
def cluster() -> Iterator[Receiver]:
    with Receiver() as server:
        server.objects |= {KUBE_PROXY: FORMER, SETTINGS: FORMER_SETTINGS}
        yield server


def test_there_and_back(cluster: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("netproxy.yaml").write_text(printed(PLAIN))
    config = cluster.write_kubeconfig(tmp_path / "kubeconfig")

    def follow(line: str) -> str:
        _, *words = shlex.split(line)
        unvalidated = ["--validate=false"] if "apply" in words else []  # there are no schemas
        flags = [f"--kubeconfig={config}", f"--cache-dir={tmp_path}", *unvalidated]
        return kubectl(*flags, *words, stdin="")

    def where_kube_proxy_runs() -> Any:
        return cluster.objects[KUBE_PROXY]["spec"]["template"]["spec"]["nodeSelector"]

    look, away, apply, wait, delete, back, wait_again = commands("$")
    assert "KubeProxyConfiguration" in follow(look)
    follow(away)
    assert where_kube_proxy_runs() == {"kubernetes.io/os": "linux", "kube-proxy": "replaced"}
    assert follow(apply).count(" created") == 5
    assert "successfully rolled out" in follow(wait)
    assert NETPROXY in cluster.objects
    assert follow(delete).count(" deleted") == 5
    follow(back)
    assert where_kube_proxy_runs() == {"kubernetes.io/os": "linux"}
    assert "successfully rolled out" in follow(wait_again)
    assert len(cluster.objects) == 2
