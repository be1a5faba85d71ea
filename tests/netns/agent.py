"""A node agent with real Pods, in a network namespace of a test, beside a real store of objects."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from netproxy.api.objects import Object
from netproxy.api.resources import CORE_EVENTS, NODES, PODS
from netproxy.api.status import StatusError
from netproxy.apiserver.local import LocalObjects
from netproxy.membership.routing import forward_packets
from netproxy.model.ip import parse_address
from netproxy.netns import namespace
from netproxy.pods.agent import PodAgent
from netproxy.pods.settings import PodSettings
from tests.netns.namespace import NetworkNamespace
from tests.objects_served import serve_objects

PATIENCE_S = 30.0
CIDRS = ("10.244.7.0/24", "fd00:244:7::/64")
_numbers = itertools.count()
_T = TypeVar("_T")


class AgentNode:
    """A node called n1, whose agent can be ended and begun again."""

    def __init__(self, client: LocalObjects, directory: Path, prefix: str) -> None:
        self.client = client
        self.prefix = prefix
        self.settings = PodSettings(
            "n1",
            (parse_address("192.0.2.1"), parse_address("2001:db8::1")),
            directory,
            (parse_address("10.96.0.10"),),
            namespace_prefix=prefix,
        )
        self.rules = asyncio.Event()
        self.rules.set()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(PodAgent(self.client, self.settings, self.rules).run())

    async def end(self) -> None:
        """As it ends when its process does: what runs goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def register(self, cidrs: tuple[str, ...] = CIDRS) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        spec = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
        await self.client.create(NODES, {**node, "spec": spec})

    async def create(self, name: str, *command: str, **spec: Any) -> Object:
        """A Pod of one container, which is bound to the node; fields of its spec, and of the
        container's (those that begin with ``c_``).
        """
        own = {key[2:]: value for key, value in spec.items() if key.startswith("c_")}
        shared = {key: value for key, value in spec.items() if not key.startswith("c_")}
        container: Object = {"name": "c", "image": "none"}
        if command:
            container["command"] = list(command)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "nodeName": "n1",
                "terminationGracePeriodSeconds": 1,
                "containers": [{**container, **own}],
                **shared,
            },
        }
        return await self.client.create(PODS, pod)

    async def pod(self, name: str) -> Object | None:
        try:
            return await self.client.get(PODS, name, "default")
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    async def until(self, question: Callable[[], Awaitable[_T | None]]) -> _T:
        """The first answer that is one."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await question()
                if found:
                    return found
                await asyncio.sleep(0.01)

    async def when(self, name: str, is_so: Callable[[Object], bool]) -> Object:
        """The Pod, once something is so."""
        seen: list[Object | None] = [None]

        async def question() -> Object | None:
            seen[0] = await self.pod(name)
            return seen[0] if seen[0] is not None and is_so(seen[0]) else None

        try:
            return await self.until(question)
        except TimeoutError:
            events = (await self.client.list(CORE_EVENTS)).items
            told = [f"{each['reason']}: {each['message']}" for each in events]
            raise AssertionError(f"{seen[0] and seen[0].get('status')}\n{told}") from None

    async def gone(self, name: str) -> None:
        async def question() -> bool:
            return await self.pod(name) is None

        await self.until(question)

    async def ready(self, name: str) -> Object:
        return await self.when(name, is_ready)

    async def delete(self, name: str, grace_s: int | None = None) -> None:
        await self.client.delete(PODS, name, "default", grace_s=grace_s)

    async def events(self, reason: str) -> list[str]:
        listed = (await self.client.list(CORE_EVENTS)).items
        return [each["message"] for each in listed if each["reason"] == reason]

    def spaces(self) -> list[str]:
        """Network namespaces of its Pods."""
        return [each for each in namespace.list_names() if each.startswith(self.prefix)]

    def log(self, pod: Object, container: str = "c", attempt: int = 0) -> list[str]:
        """What a container wrote, without times and streams."""
        uid = pod["metadata"]["uid"]
        path = self.settings.directory / "pods" / uid / "runs" / container / str(attempt) / "log"
        return [line.split(" ", 3)[3] for line in path.read_text().splitlines()]


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def status_of(pod: Object) -> Object:
    """Of its only container."""
    (found,) = pod["status"]["containerStatuses"]
    return dict(found)


def phase(word: str) -> Callable[[Object], bool]:
    return lambda pod: bool((pod.get("status") or {}).get("phase") == word)


async def run(*command: str) -> str:
    """What a command prints; it runs in this thread's namespace."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


@asynccontextmanager
async def open_node(directory: Path) -> AsyncIterator[AgentNode]:
    """A node whose agent has begun; whatever is left of it goes."""
    prefix = f"nptest-{os.getpid()}-{next(_numbers)}-"
    async with serve_objects(directory) as served:
        node = AgentNode(served.client(), directory / "agent", prefix)
        node.begin()
        try:
            yield node
        finally:
            await node.end()
            await asyncio.to_thread(namespace.remove, node.spaces())


def play(netns: NetworkNamespace, directory: Path, story: Callable[[AgentNode], Any]) -> None:
    """Tell a story on a node with prefixes for Pods of both families."""

    async def main() -> None:
        async with open_node(directory) as node:
            await node.register()
            await story(node)

    def inside() -> None:
        forward_packets()
        asyncio.run(main())

    netns.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    netns.run("ip", "address", "add", "2001:db8::1/128", "dev", "lo")
    netns.call(inside)
