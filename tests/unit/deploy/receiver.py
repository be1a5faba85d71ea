"""A server that takes, keeps and gives away what kubectl brings; no more of an API server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs
from uuid import uuid4

VERBS = ["create", "delete", "get", "list", "patch", "watch"]
KINDS = {
    "v1": [("ServiceAccount", "serviceaccounts", True), ("ConfigMap", "configmaps", True)],
    "apps/v1": [("DaemonSet", "daemonsets", True)],
    "rbac.authorization.k8s.io/v1": [
        ("ClusterRole", "clusterroles", False),
        ("ClusterRoleBinding", "clusterrolebindings", False),
    ],
}
"""Kind, its plural, whether it is in namespaces; by group and version."""


DONE = {
    "observedGeneration": 9,
    "currentNumberScheduled": 0,
    "desiredNumberScheduled": 0,
    "numberMisscheduled": 0,
    "numberReady": 0,
}
"""A DaemonSet's status where there is no node: everything that is wanted is done."""


class Receiver:
    """Listens on loopback while its context is entered."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        """Path → object, in the order of their creation."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.objects))
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


_NO_STREAMED_LISTS = {
    "apiVersion": "v1",
    "kind": "Status",
    "status": "Failure",
    "reason": "Invalid",
    "message": "sendInitialEvents: Forbidden: the feature gate WatchList is disabled",
    "code": 422,
}
"""What kubectl hears from servers that stream no lists; then it lists."""


def _handler(objects: dict[str, dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            found = _discovery(path) or objects.get(path)
            asked = parse_qs(query)
            if "sendInitialEvents" in asked:
                self._answer(422, _NO_STREAMED_LISTS)
                return
            if "fieldSelector" in asked:
                one = objects[f"{path}/{asked['fieldSelector'][0].removeprefix('metadata.name=')}"]
                found = {"type": "ADDED", "object": one} if "watch" in asked else _list(one)
            self._answer(200 if found else 404, found or _NOT_FOUND)

        def do_POST(self) -> None:
            given = self._body()
            path = f"{self.path.partition('?')[0]}/{given['metadata']['name']}"
            given["metadata"] |= {"uid": str(uuid4()), "generation": 1, "resourceVersion": "1"}
            objects[path] = given | ({"status": DONE} if given["kind"] == "DaemonSet" else {})
            self._answer(201, objects[path])

        def do_PATCH(self) -> None:
            # Only maps are patched here, where both kinds of patch mean the same.
            path = self.path.partition("?")[0]
            objects[path] = _merge(objects[path], self._body())
            self._answer(200, objects[path])

        def do_DELETE(self) -> None:
            found = objects.pop(self.path.partition("?")[0], None)
            self._answer(200 if found else 404, found or _NOT_FOUND)

        def _body(self) -> Any:
            return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, code: int, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


_NOT_FOUND = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "message": "there is no such object",
    "code": 404,
}


def _list(one: dict[str, Any]) -> dict[str, Any]:
    metadata = {"resourceVersion": "1"}
    return {"kind": "DaemonSetList", "apiVersion": "apps/v1", "metadata": metadata, "items": [one]}


def _merge(old: Any, patch: Any) -> Any:
    """Source: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = {**(old if isinstance(old, dict) else {}), **patch}
    return {
        key: _merge((old or {}).get(key), value) if key in patch else value
        for key, value in merged.items()
        if value is not None
    }


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
        {"kind": kind, "name": plural, "namespaced": is_namespaced, "verbs": VERBS}
        for kind, plural, is_namespaced in kinds
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, short = version.partition("/")
    only = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [only], "preferredVersion": only}
