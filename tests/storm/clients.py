"""Clients who remember what they were told: writers, and one who watches."""

from __future__ import annotations

import asyncio
import random
from typing import Any, NamedTuple

from tests.storm.wire import Access, Closed, Reply, connect

_SERVICES = "/api/v1/namespaces/default/services"


class Acknowledged:
    """Counts what all writers have been told is done.

    Args:
        enough: After so many ``reached`` is set.
    """

    def __init__(self, enough: int) -> None:
        self._missing = enough
        self.reached = asyncio.Event()

    def count(self) -> None:
        """One more."""
        self._missing -= 1
        if self._missing <= 0:
            self.reached.set()


class _Known(NamedTuple):
    """What is known of one object."""

    version: str | None
    """None: it is not there."""
    is_sure: bool = True
    """False: something else was asked for, and nobody has answered."""


class Writer:
    """Makes, changes and removes Services of its own.

    Args:
        name: With which its Services begin.
        dice: Decides what is next.
    """

    def __init__(self, name: str, dice: random.Random) -> None:
        self._name = name
        self._dice = dice
        self._known: dict[str, _Known] = {}
        self._count = 0
        self.newest = 0
        """The last version that it was told."""

    @staticmethod
    def service(name: str) -> dict[str, Any]:
        """One with a node port if its name says so."""
        kind = "NodePort" if name.endswith("0") else "ClusterIP"
        spec = {"type": kind, "selector": {"app": name}, "ports": [{"port": 80}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}

    async def write(self, access: Access, acknowledged: Acknowledged) -> None:
        """Until the server goes, which is told as ``Closed``."""
        try:
            async with connect(access) as wire:
                while True:
                    name, method, path, body = self._next()
                    before = self._known.get(name, _Known(None))
                    self._known[name] = before._replace(is_sure=False)
                    headers = {"Content-Type": "application/merge-patch+json"}
                    wire.say(method, path, body, headers if method == "PATCH" else None)
                    self._learn(name, method, await wire.hear())
                    acknowledged.count()
        except OSError as error:
            raise Closed(str(error)) from error

    def _next(self) -> tuple[str, str, str, object]:
        there = [name for name, each in self._known.items() if each.is_sure and each.version]
        chance = self._dice.random()
        if not there or chance < 0.5:
            self._count += 1
            name = f"{self._name}-{self._count}"
            return name, "POST", _SERVICES, self.service(name)
        name = self._dice.choice(there)
        if chance < 0.7:
            return name, "DELETE", f"{_SERVICES}/{name}", None
        labels = {"metadata": {"labels": {"n": str(self._dice.randrange(10**9))}}}
        return name, "PATCH", f"{_SERVICES}/{name}", labels

    def _learn(self, name: str, method: str, reply: Reply) -> None:
        assert reply.status in {200, 201}, (method, name, reply)
        version = reply.object["metadata"]["resourceVersion"]
        self.newest = max(self.newest, int(version))
        self._known[name] = _Known(None if method == "DELETE" else version)

    def judge(self, listed: dict[str, Any]) -> None:
        """Everything acknowledged is as it was told; of the rest we learn what became of it."""
        for name, known in self._known.items():
            found = listed[name]["metadata"]["resourceVersion"] if name in listed else None
            if known.is_sure:
                assert found == known.version, f"{name}: {found} instead of {known.version}"
            self._known[name] = _Known(found)


class Follower:
    """Watches, and makes of what it hears what must be there.

    Args:
        path: Of what.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._versions: dict[str, str] = {}
        self.version = 0
        """Everything up to it has been heard."""

    def versions(self) -> dict[str, str]:
        """Which objects there are, with their versions."""
        return dict(self._versions)

    async def follow(self, access: Access) -> None:
        """Until the server goes, which is told as ``Closed``."""
        await self._hear(access, 0)

    async def until(self, access: Access, version: int) -> None:
        """Until everything up to a version is heard."""
        if self.version < version:
            await self._hear(access, version)

    async def _hear(self, access: Access, end: int) -> None:
        path = f"{self._path}?watch=true&allowWatchBookmarks=true&resourceVersion={self.version}"
        if not self.version:
            path += "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        if end:
            path += "&timeoutSeconds=1"  # it ends with a bookmark, which is as good as an event
        async with connect(access) as wire:
            async for event in wire.watch(path):
                self._apply(event["type"], event["object"])
                if end and self.version >= end:
                    return

    def _apply(self, kind: str, obj: dict[str, Any]) -> None:
        assert kind != "ERROR", obj
        metadata = obj["metadata"]
        version = int(metadata["resourceVersion"])
        if kind == "BOOKMARK":
            assert version >= self.version
            self.version = version
            return
        if kind == "DELETED":
            del self._versions[metadata["name"]]
        else:
            is_known = metadata["name"] in self._versions
            assert is_known is (kind == "MODIFIED"), (kind, metadata["name"])
            self._versions[metadata["name"]] = metadata["resourceVersion"]
        # The first objects come in the order of their names, until a bookmark says that it was all.
        if self.version:
            assert version > self.version
            self.version = version
