"""An API server without sockets, and requests to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from netproxy.apiserver.access import Gate, ensure_tokens
from netproxy.apiserver.documents import Documents
from netproxy.apiserver.handlers import Handlers
from netproxy.apiserver.registry import RegistrySettings
from netproxy.web import Answer, Inquiry
from tests.objects_served import Served, now, serve_objects

SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


class Told(NamedTuple):
    """An answer."""

    code: int
    body: Any
    headers: Mapping[str, str]

    @property
    def entries(self) -> dict[str, Any]:
        """Who owns which fields: by manager, with its subresource if it has one."""
        return {
            "/".join(filter(None, (each["manager"], each.get("subresource")))): each["fieldsV1"]
            for each in self.body["metadata"].get("managedFields", ())
        }


class Api(NamedTuple):
    """What answers."""

    handlers: Handlers
    runner: asyncio.Runner

    def ask(
        self, method: str, path: str, body: object = None, *, sent: str = "application/json"
    ) -> Told:
        """One request, whose body is made JSON unless it is bytes."""
        path, _, query = path.partition("?")
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        headers = {"content-type": sent, "user-agent": "test/1.0"} if body is not None else {}
        answer = self.runner.run(
            self.handlers.handle(Inquiry(method, path, query, headers, raw, True))
        )
        assert isinstance(answer, Answer)
        return Told(answer.status, json.loads(answer.body), answer.headers)

    def make(self, path: str, obj: object, manager: str = "maker") -> Told:
        """A new object."""
        told = self.ask("POST", f"{path}?fieldManager={manager}", obj)
        assert told.code == 201, told.body
        return told

    def patch(self, path: str, patch: object, *, sent: str = MERGE, query: str = "") -> Told:
        """Changes a part."""
        return self.ask("PATCH", f"{path}?{query or 'fieldManager=changer'}", patch, sent=sent)


async def _entered(serving: AbstractAsyncContextManager[Served]) -> Served:
    return await serving.__aenter__()


async def _left(serving: AbstractAsyncContextManager[Served]) -> None:
    await serving.__aexit__(None, None, None)


@contextmanager
def serve(directory: Path, settings: RegistrySettings | None = None) -> Iterator[Api]:
    """A server with what every cluster has from its beginning."""
    with asyncio.Runner() as runner:
        serving = serve_objects(directory, settings)
        served = runner.run(_entered(serving))
        try:
            gate = Gate(ensure_tokens(directory / "tokens.json"))
            yield Api(Handlers(served.operations, gate, Documents(), now), runner)
        finally:
            runner.run(_left(serving))


def service(name: str = "web", **spec: object) -> dict[str, Any]:
    said = {"selector": {"app": name}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": said}


def deployment(name: str = "web", **spec: object) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "c", "image": "nginx:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    said = {"selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": said}
