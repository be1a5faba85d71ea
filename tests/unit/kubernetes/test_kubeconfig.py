"""Kubeconfigs: what kubectl makes of them, we make of them; what is broken is named."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Access, Pem
from netproxy.kubernetes.connect import find_access, open_client
from netproxy.kubernetes.contract import ClientSettings
from netproxy.kubernetes.kubeconfig import read_kubeconfig
from tests.kubectl import KUBECTL
from tests.unit.kubernetes.api import b64, write_kubeconfig

DATA = Path(__file__).parent.parent.parent / "data" / "kubeconfig"
CASES = sorted(path for path in DATA.iterdir() if path.is_dir())
PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


def kubectl(location: str, context: str) -> Any:
    """What kubectl says of the chosen context, files inlined."""
    command = [KUBECTL, "config", "view", "--minify", "--raw", "--flatten", "-o", "json"]
    command += [f"--context={context}"] if context else []
    environ = {**os.environ, "KUBECONFIG": location}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def text_of(pem: Pem | None) -> str:
    if pem is None:
        return ""
    return pem.text.reveal() if pem.path is None else pem.path.read_text()


def summary(access: Access) -> dict[str, object]:
    """An access in the words of kubectl's answer."""
    cluster, user, namespace = access
    pair = user.pair or (None, None)
    return {
        "server": cluster.server,
        "ca": b64(text_of(cluster.ca)),
        "insecure": cluster.is_insecure,
        "name": cluster.tls_server_name,
        "proxy": cluster.proxy_url.reveal() if cluster.proxy_url else "",
        "uncompressed": cluster.disable_compression,
        "certificate": b64(text_of(pair[0])),
        "key": b64(text_of(pair[1])),
        "token": user.token.reveal() if user.token else "",
        "basic": (user.basic[0], user.basic[1].reveal()) if user.basic else ("", ""),
        "as": user.impersonation,
        "args": user.plugin.args if user.plugin else (),
        "namespace": namespace,
    }


def kubectl_summary(view: Any) -> dict[str, object]:
    cluster = view["clusters"][0]["cluster"]
    user = view["users"][0]["user"] if view["users"] else {}
    return {
        "server": cluster["server"],
        "ca": cluster.get("certificate-authority-data", ""),
        "insecure": cluster.get("insecure-skip-tls-verify", False),
        "name": cluster.get("tls-server-name", ""),
        "proxy": cluster.get("proxy-url", ""),
        "uncompressed": cluster.get("disable-compression", False),
        "certificate": user.get("client-certificate-data", ""),
        "key": user.get("client-key-data", ""),
        "token": user.get("token", ""),
        "basic": (user.get("username", ""), user.get("password", "")),
        "as": tuple(
            [("Impersonate-User", name) for name in [user.get("as")] if name]
            + [("Impersonate-Group", group) for group in user.get("as-groups", [])]
        ),
        "args": tuple(user.get("exec", {}).get("args") or ()),
        "namespace": view["contexts"][0]["context"].get("namespace", ""),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_kubectl_reads_the_same(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``kubectl.json`` is kubectl's recorded answer; kubectl says it again."""
    asked = json.loads((case / "ask.json").read_text())
    monkeypatch.chdir(case)
    location = os.pathsep.join(asked["files"])
    recorded = json.loads((case / "kubectl.json").read_text())
    assert kubectl(location, asked["context"]) == recorded
    access = read_kubeconfig(location, context=asked["context"])
    assert summary(access) == kubectl_summary(recorded)


def test_there_are_cases() -> None:
    assert len(CASES) >= 5


def broken(tmp_path: Path, **change: Any) -> str:
    """A kubeconfig with one thing changed; keys are ``cluster``, ``user``, ``context`` or top."""
    path = write_kubeconfig(tmp_path, "https://127.0.0.1:6443", {}, {"token": "t0ps3cret"})
    content = yaml.safe_load(path.read_text())
    for key in ("cluster", "user", "context"):
        content[f"{key}s"][0][key] |= change.pop(key, {})
    path.write_text(json.dumps(content | change))
    return str(path)


V1 = "client.authentication.k8s.io/v1"
EXEC = {"apiVersion": V1, "command": "true", "interactiveMode": "Never"}
BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "no context": ({"current-context": ""}, "current-context", "there are: here"),
    "unknown context": ({"current-context": "far"}, 'no context "far"', "there are: here"),
    "unknown cluster": ({"context": {"cluster": "x"}}, "contexts[here].cluster", "are: stage"),
    "no cluster": ({"context": {"cluster": ""}}, "names no cluster", "there are: stage"),
    "unknown user": ({"context": {"user": "x"}}, "contexts[here].user", "there are: node"),
    "kind": ({"kind": "Pod"}, "has Pod of v1", "kind: Config"),
    "type": ({"cluster": {"server": 6443}}, "$.clusters[0].cluster.server", "YAML"),
    "no server": ({"cluster": {"server": ""}}, "clusters[stage].server: is missing", "https://"),
    "no URL": ({"cluster": {"server": "https://:1"}}, "clusters[stage].server", "https://host"),
    "scheme": ({"cluster": {"server": "ftp://host"}}, "clusters[stage].server", "https://host"),
    "port": ({"cluster": {"server": "https://host:x"}}, "clusters[stage].server", "https://host"),
    "password in URL": (
        {"cluster": {"server": "https://me:hunter2@host"}},
        "clusters[stage].server: has a user in it",
        "users",
    ),
    "SOCKS": ({"cluster": {"proxy-url": "socks5://host:1"}}, "proxy-url: SOCKS", "http://host"),
    "no proxy": ({"cluster": {"proxy-url": "host:1"}}, "proxy-url: is not", "http://host"),
    "CA twice": (
        {"cluster": {"certificate-authority": "a", "certificate-authority-data": b64(PEM)}},
        "clusters[stage].certificate-authority:",
        "keep one",
    ),
    "insecure with CA": (
        {"cluster": {"certificate-authority": "a", "insecure-skip-tls-verify": True}},
        "insecure-skip-tls-verify",
        "remove",
    ),
    "base64": (
        {"cluster": {"certificate-authority-data": "%%%"}},
        "clusters[stage].certificate-authority-data: is not base64",
        "base64 -w0",
    ),
    "base64 of something else": (
        {"user": {"client-certificate-data": b64("hello"), "client-key": "k"}},
        "users[node].client-certificate-data",
        "base64 -w0",
    ),
    "certificate without key": (
        {"user": {"client-certificate-data": b64(PEM)}},
        "users[node].client-key: is missing",
        "client-key-data",
    ),
    "key without certificate": (
        {"user": {"client-key": "k"}},
        "users[node].client-certificate: is missing",
        "client-certificate-data",
    ),
    "line break in token": ({"user": {"token": "a\nb"}}, "users[node].token", "line breaks"),
    "token and password": ({"user": {"username": "u"}}, "users[node]: has a token", "keep one"),
    "auth-provider": (
        {"user": {"auth-provider": {"name": "gcp"}}},
        'users[node].auth-provider: "gcp"',
        "use exec",
    ),
    "exec without version": (
        {"user": {"exec": {**EXEC, "apiVersion": ""}}},
        "exec.apiVersion: is missing",
        V1,
    ),
    "exec of the future": (
        {"user": {"exec": {**EXEC, "apiVersion": "v9"}}},
        'exec.apiVersion: "v9" is unknown',
        V1,
    ),
    "exec without mode": (
        {"user": {"exec": {**EXEC, "interactiveMode": ""}}},
        "exec.interactiveMode: is missing",
        "Never",
    ),
    "exec with a person": (
        {"user": {"exec": {**EXEC, "interactiveMode": "Always"}}},
        "nobody is there",
        "Never",
    ),
    "exec of nothing": (
        {"user": {"exec": {**EXEC, "command": "no-such-plugin", "installHint": "brew it"}}},
        'exec.command: there is no program "no-such-plugin"',
        "brew it",
    ),
    "exec without command": ({"user": {"exec": {**EXEC, "command": ""}}}, "is missing", "path"),
    "group without user": ({"user": {"as-groups": ["g"]}}, "users[node].as: is missing", ""),
    "duplicate": (
        {"users": [{"name": "node"}, {"name": "node"}]},
        "node: two entries",
        "rename",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_a_remedy(name: str, tmp_path: Path) -> None:
    change, words, remedy = BROKEN[name]
    location = broken(tmp_path, **change)
    with pytest.raises(ConfigError) as caught:
        open_client(ClientSettings(kubeconfig=location))
    assert words in caught.value.message
    assert location in caught.value.message
    assert remedy in (caught.value.hint or "")
    for secret in ("t0ps3cret", "hunter2"):
        assert secret not in f"{caught.value.message} {caught.value.hint}"


def unreadable(directory: Path) -> str:
    return str(directory)


def missing(directory: Path) -> str:
    return str(directory / "none")


def missing_all(directory: Path) -> str:
    return f"{directory / 'none'}:{directory / 'nil'}"


def garbage(directory: Path) -> str:
    path = directory / "config"
    path.write_text("users:\n- name: a\n  user: {token: *s3cret}\n")
    return str(path)


def binary(directory: Path) -> str:
    path = directory / "config"
    path.write_bytes(b"\x00\xff")
    return str(path)


def a_list(directory: Path) -> str:
    path = directory / "config"
    path.write_text("- 1\n")
    return str(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (unreadable, "cannot be read"),
        (missing, "cannot be read: No such file"),
        (missing_all, "none of these files exists"),
        (garbage, "config:3: is not YAML"),
        (binary, "is not YAML"),
        (a_list, "Expected `object`, got `array`"),
    ],
)
def test_files_that_are_none(make: Callable[[Path], str], words: str, tmp_path: Path) -> None:
    location = make(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_kubeconfig(location)
    assert words in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "s3cret" not in caught.value.message
    assert caught.value.hint


def test_master_overrides_the_server_and_the_name_that_goes_with_it(tmp_path: Path) -> None:
    location = broken(tmp_path, cluster={"tls-server-name": "kubernetes"})
    assert read_kubeconfig(location).cluster.tls_server_name == "kubernetes"
    cluster = read_kubeconfig(location, master="https://10.0.0.9:443/").cluster
    assert (cluster.server, cluster.tls_server_name) == ("https://10.0.0.9:443", "")
    with pytest.raises(ConfigError, match="--master: is not the URL"):
        read_kubeconfig(location, master="https://")


def test_without_tls_nobody_hears_who_we_are(tmp_path: Path) -> None:
    location = broken(tmp_path, cluster={"server": "http://127.0.0.1:8080"})
    access = find_access(ClientSettings(kubeconfig=location), {})
    assert access.user.is_anonymous()
    assert access.cluster.server == "http://127.0.0.1:8080"


def test_master_alone_is_asked_as_nobody() -> None:
    access = find_access(ClientSettings(master="127.0.0.1:8080"), {"KUBECONFIG": "/nowhere"})
    assert (access.cluster.server, access.user.is_anonymous()) == ("http://127.0.0.1:8080", True)


def test_in_a_pod_the_service_account_is_used(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    cluster, user, _ = find_access(ClientSettings(), environ, tmp_path)
    assert cluster.server == "https://[fd00::1]:443"
    assert cluster.ca is not None
    assert cluster.ca.path == tmp_path / "ca.crt"
    assert user.token_file == tmp_path / "token"


def test_outside_of_a_pod_something_has_to_be_said() -> None:
    with pytest.raises(ConfigError, match="KUBERNETES_SERVICE_HOST") as caught:
        find_access(ClientSettings(), {"KUBECONFIG": "/home/me/.kube/config"})
    assert caught.value.hint == "name a kubeconfig"


def test_secrets_do_not_show_in_representations(tmp_path: Path) -> None:
    execute = {**EXEC, "env": [{"name": "A", "value": "s3cret-env"}], "provideClusterInfo": True}
    location = broken(
        tmp_path,
        user={
            "token": "s3cret-token",
            "client-certificate-data": b64(PEM + "s3cret-certificate"),
            "client-key-data": b64(PEM + "s3cret-key"),
            "exec": execute,
        },
        cluster={"proxy-url": "http://me:s3cret-proxy@host:1"},
    )
    access = read_kubeconfig(location)
    assert access.user.token is not None
    assert access.user.token.reveal() == "s3cret-token"
    assert "s3cret" not in repr(access) + str(access)
