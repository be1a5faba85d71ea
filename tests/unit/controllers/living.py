"""All controllers at work beside a real store and registry; tests play the Pods and the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from netproxy.api.client import Selection
from netproxy.api.objects import Object, is_leaving, labels_of
from netproxy.api.resources import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Resource,
)
from netproxy.api.status import StatusError
from netproxy.apiserver.local import LocalObjects
from netproxy.controllers.cluster import ControllerSettings, run_controllers
from tests.objects_served import now, serve_objects

PATIENCE_S = 30.0
_T = TypeVar("_T")


def stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Living:
    """A cluster without an agent: whoever tests says what becomes of Pods."""

    def __init__(self, client: LocalObjects) -> None:
        self.client = client
        self._addresses = 0

    async def all(self, resource: Resource, labels: str = "") -> list[Object]:
        namespace = "default" if resource.namespaced else ""
        return (await self.client.list(resource, Selection(namespace, labels))).items

    async def until(self, question: Callable[[], Awaitable[_T | None]]) -> _T:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await question()):
                await asyncio.sleep(0.005)
        return found

    async def quiet(self) -> None:
        """Until nothing has been written for a moment."""
        before = ""
        while True:
            version = (await self.client.list(PODS)).resource_version
            if version == before:
                return
            before = version
            await asyncio.sleep(0.15)

    async def node(self, name: str, *, lease: bool = True) -> None:
        """One that is ready."""
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        await self.client.create(NODES, node)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp()}
        patch = {"status": {"conditions": [ready]}}
        await self.client.patch(NODES, name, patch, subresource="status")
        if lease:
            await self.heartbeat(name)

    async def heartbeat(self, name: str) -> None:
        spec = {"holderIdentity": name, "renewTime": stamp()}
        metadata = {"name": name, "namespace": "kube-node-lease"}
        try:
            known = await self.client.get(LEASES, name, "kube-node-lease")
            await self.client.update(LEASES, {**known, "spec": spec})
        except StatusError:
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            await self.client.create(LEASES, {**lease, "metadata": metadata, "spec": spec})

    async def deployment(self, name: str, replicas: int, image: str = "one", **spec: Any) -> None:
        labels = {"app": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image, "command": ["x"]}]},
        }
        await self.client.create(
            DEPLOYMENTS,
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": template,
                    **spec,
                },
            },
        )

    async def service(self, name: str, **spec: Any) -> Object:
        return await self.client.create(
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
            },
        )

    async def pod(self, name: str, app: str, node: str = "n1") -> Object:
        """One without an owner."""
        containers = [{"name": "c", "image": "i", "command": ["x"]}]
        return await self.client.create(
            PODS,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
                "spec": {"nodeName": node, "containers": containers},
            },
        )

    async def mark(self, pod: Object, *, ready: bool = True) -> None:
        """What its node says of it."""
        while not await self._mark(pod["metadata"]["name"], ready=ready):
            await asyncio.sleep(0.005)

    async def _mark(self, name: str, *, ready: bool) -> bool:
        known = await self.client.get(PODS, name, "default")
        address = (known.get("status") or {}).get("podIP")
        if not address:
            self._addresses += 1
            address = f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"
        word = "True" if ready else "False"
        status = {
            **(known.get("status") or {}),
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": word, "lastTransitionTime": stamp()}],
        }
        try:
            await self.client.update(PODS, {**known, "status": status}, "status")
        except StatusError as error:
            if error.code != 409:  # the scheduler has written in between
                raise
            return False
        return True

    async def end(self, pod: Object) -> None:
        """Its node has ended it."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        await self.client.delete(PODS, name, "default", uid=uid, grace_s=0)

    async def end_leaving(self) -> None:
        """What nodes do with Pods that are to go."""
        for pod in await self.all(PODS):
            if is_leaving(pod):
                await self.end(pod)

    async def pods(self, app: str, count: int) -> list[Object]:
        """Exactly so many Pods that stay."""

        async def question() -> list[Object] | None:
            found = [each for each in await self.all(PODS) if not is_leaving(each)]
            found = [each for each in found if labels_of(each).get("app") == app]
            return found if len(found) == count else None

        if count == 0:
            await self.until(lambda: _is_none(question))
            return []
        return await self.until(question)

    async def endpoints(self, service: str) -> dict[str, bool]:
        """Addresses of its slices, and whether they are ready."""
        slices = await self.all(ENDPOINT_SLICES, f"kubernetes.io/service-name={service}")
        return {
            each["addresses"][0]: each["conditions"]["ready"]
            for one in slices
            for each in one.get("endpoints") or ()
        }

    async def replica_sets(self) -> list[Object]:
        return await self.all(REPLICA_SETS)


async def _is_none(question: Callable[[], Awaitable[list[Object] | None]]) -> bool:
    return await question() == []


@asynccontextmanager
async def _open(directory: Path, settings: ControllerSettings) -> AsyncIterator[Living]:
    async with serve_objects(directory) as served:
        running = asyncio.create_task(run_controllers(served.client("controllers"), settings, now))
        try:
            yield Living(served.client())
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def live(directory: Path, story: Callable[[Living], Awaitable[None]], **settings: Any) -> None:
    """Tell a story in a cluster whose controllers are at work."""

    async def main() -> None:
        async with _open(directory, ControllerSettings(**settings)) as living:
            await story(living)

    asyncio.run(main())
