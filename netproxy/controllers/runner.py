"""Runs controllers: tells them of changes, asks for plans, carries them out, tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from netproxy.api.client import ObjectClient
from netproxy.api.informer import Informer, OnChange
from netproxy.api.objects import Key, Object, resource_version_of
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError
from netproxy.controllers.contract import Action, Controller, Create, Delete, Update
from netproxy.controllers.workqueue import WorkQueue
from netproxy.errors import SourceError
from netproxy.log import EventLogger

log = EventLogger(__name__)


class Cache:
    """All objects that any controller has to know of; each resource is followed once."""

    def __init__(self, client: ObjectClient, resources: Sequence[Resource]) -> None:
        self.informers = {each: Informer(client, each) for each in dict.fromkeys(resources)}

    def get(self, resource: Resource, key: Key) -> Object | None:
        """See ``contract.Objects``."""
        return self.informers[resource].get(key)

    def all(self, resource: Resource) -> Mapping[Key, Object]:
        """See ``contract.Objects``."""
        return self.informers[resource].objects


class Worker:
    """One controller with its queue."""

    def __init__(
        self,
        controller: Controller,
        cache: Cache,
        client: ObjectClient,
        now: Callable[[], datetime],
    ) -> None:
        self._controller = controller
        self._cache = cache
        self._client = client
        self._now = now
        self._queue: WorkQueue[Key] = WorkQueue(asyncio.get_running_loop().time)
        for resource in controller.resources:
            cache.informers[resource].listen(self._listener(resource))

    def _listener(self, resource: Resource) -> OnChange:
        def changed(key: Key, old: Object | None, new: Object | None) -> None:
            for each in self._controller.concerns(resource, key, old, new):
                self._queue.add(each)

        return changed

    async def run(self) -> None:
        """Work until cancelled; nothing is planned before everything has been listed once."""
        for resource in self._controller.resources:
            await self._cache.informers[resource].synced.wait()
        while True:
            key = await self._queue.take()
            try:
                await self._work(key)
            except StatusError as error:
                # Somebody else was faster, or the object has gone: look again, it is no trouble.
                if error.code not in {404, 409}:
                    self._tell(key, error.message)
                self._queue.failed(key)
            except SourceError as error:
                self._tell(key, error.message)
                self._queue.failed(key)
            else:
                self._queue.worked(key)

    def _tell(self, key: Key, error: str) -> None:
        log.warning(
            "controller failed", controller=self._controller.name, object=str(key), error=error
        )

    async def _work(self, key: Key) -> None:
        plan = self._controller.plan(key, self._cache, self._now())
        for action in plan.actions:
            log.debug(
                "controller acts",
                controller=self._controller.name,
                object=str(key),
                action=type(action).__name__.lower(),
                resource=action.resource.qualified,
            )
            await self._carry_out(action)
        if plan.again_s is not None:
            self._queue.add_later(key, plan.again_s)

    async def _carry_out(self, action: Action) -> None:
        """Write, and wait until we hear of it: the next plan builds on what this one did."""
        if isinstance(action, Delete):
            key = action.key
            try:
                await self._client.delete(
                    action.resource, key.name, key.namespace, uid=action.uid, grace_s=action.grace_s
                )
            except StatusError as error:
                if error.code != 404:
                    raise
            return
        if isinstance(action, Create):
            written = await self._client.create(action.resource, action.object)
        else:
            assert isinstance(action, Update)
            written = await self._client.update(action.resource, action.object, action.subresource)
        informer = self._cache.informers.get(action.resource)
        if informer is not None and written.get("kind") == action.resource.kind:
            await informer.caught_up(resource_version_of(written))


async def run_all(
    controllers: Sequence[Controller], client: ObjectClient, now: Callable[[], datetime]
) -> None:
    """Run controllers until cancelled.

    Args:
        controllers: Which.
        client: Reads and writes.
        now: Tells the time, in UTC.
    """
    cache = Cache(client, [each for one in controllers for each in one.resources])
    workers = [Worker(each, cache, client, now) for each in controllers]
    async with asyncio.TaskGroup() as tasks:
        for informer in cache.informers.values():
            tasks.create_task(informer.run())
        for worker in workers:
            tasks.create_task(worker.run())
