"""A server that knows which kinds there are and takes whatever ``kubectl apply`` creates."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

KINDS = {
    "v1": [("ServiceAccount", "serviceaccounts", True), ("ConfigMap", "configmaps", True)],
    "apps/v1": [("DaemonSet", "daemonsets", True)],
    "rbac.authorization.k8s.io/v1": [
        ("ClusterRole", "clusterroles", False),
        ("ClusterRoleBinding", "clusterrolebindings", False),
    ],
}
"""Kind, its plural, whether it is in namespaces; by group and version."""


class Receiver:
    """Listens on loopback while its context is entered."""

    def __init__(self) -> None:
        self.created: list[tuple[str, dict[str, Any]]] = []
        """Paths and objects, in order."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.created))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def write_kubeconfig(self, path: Path) -> Path:
        """A file by which kubectl finds this server."""
        cluster = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": ""}}],
            "clusters": [{"name": "here", "cluster": cluster}],
        }
        path.write_text(json.dumps(config))
        return path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(created: list[tuple[str, dict[str, Any]]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            found = _discovery(self.path.partition("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
            self._answer(404 if found is None else 200, found or missing)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            created.append((self.path.partition("?")[0], json.loads(body)))
            self._answer(201, json.loads(body))

        def _answer(self, code: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _discovery(path: str) -> dict[str, Any] | None:
    """Source: Kubernetes, meta/v1: APIVersions, APIGroupList and APIResourceList."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [version for version in KINDS if "/" in version]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [*map(_group, groups)]}
    kinds = KINDS.get(path.removeprefix("/apis/").removeprefix("/api/"))
    if kinds is None:
        return None
    resources = [
        {"kind": kind, "name": plural, "namespaced": is_namespaced, "verbs": ["create", "get"]}
        for kind, plural, is_namespaced in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, short = version.partition("/")
    only = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [only], "preferredVersion": only}
