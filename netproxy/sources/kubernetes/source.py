"""An API server's Services, EndpointSlices, ServiceCIDRs and our Node → events.

Not here: how each kind is kept in step (``reflector.py``, ``follow.py``), when enough is known to
begin (``readiness.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator

from netproxy.kubernetes.contract import ApiClient
from netproxy.log import EventLogger
from netproxy.model.events import Listed
from netproxy.sources.kubernetes.follow import follow
from netproxy.sources.kubernetes.outbox import Batch, Outbox
from netproxy.sources.kubernetes.readiness import NodeWait, Readiness
from netproxy.sources.kubernetes.reflector import Pace, Reflector
from netproxy.sources.kubernetes.resources import (
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    SERVICES,
    our_node,
)

log = EventLogger(__name__)


async def watch_kubernetes(
    client: ApiClient, node_name: str, *, wait: NodeWait, pace: Pace | None = None
) -> AsyncGenerator[Batch, None]:
    """Everything that there is, then every change, for ever.

    ``Listed`` is said once, when all has been said and our Node has what the start needs; and once
    more if it was not complete, as an object could not be read, and then that is mended. Relists
    are not seen from here but for what they change. Whoever takes slowly gets fewer batches.

    Args:
        client: Asks the server.
        node_name: Ours, as the Node object has it.
        wait: What has to be known of our Node.
        pace: How patient it is with the server; by default, as kube-proxy.

    Yields:
        What changed since the batch before. Never an empty batch.

    Raises:
        ConfigError: credentials can never work as they are configured.
        UnsupportedError: our Node lacks what the settings need.
    """
    source = _Source(node_name, wait, pace or Pace())
    tasks = [asyncio.create_task(source.follow(each, client)) for each in source.reflectors]
    try:
        while True:
            batch = await source.next_batch()
            if batch.events or batch.diagnostics:
                yield batch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Source:
    """All kinds together."""

    def __init__(self, node_name: str, wait: NodeWait, pace: Pace) -> None:
        self._node_name = node_name
        self._news = asyncio.Event()
        self._outbox = Outbox(self._news.set)
        self._readiness = Readiness(node_name, wait)
        self._started = asyncio.get_running_loop().time()
        self._has_begun = False
        self._is_complete = False
        self._crash: BaseException | None = None
        dice = random.Random().random  # noqa: S311 - spreads load, hides nothing
        self._node, *self._others = self.reflectors = [
            Reflector(resource, self._outbox, dice=dice, pace=pace)
            for resource in (our_node(node_name), SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS)
        ]
        log.info("listing", object=", ".join(each.resource.plural for each in self.reflectors))

    async def follow(self, reflector: Reflector, client: ApiClient) -> None:
        """Keep one kind in step; what goes wrong for good is raised by ``next_batch``."""
        try:
            await follow(reflector, client)
        except Exception as error:  # noqa: BLE001 - passed on
            self._crash = error
            self._news.set()

    async def next_batch(self) -> Batch:
        """What there is to tell, as soon as there is something; maybe nothing."""
        now = asyncio.get_running_loop().time
        wait_s = None if self._has_begun else self._readiness.next_look(now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        self._news.clear()
        if self._crash is not None:
            raise self._crash
        batch = self._outbox.take()
        if not self._is_complete and self._may_begin(batch, now()):
            self._is_complete = all(each.is_complete for each in self.reflectors)
            if self._is_complete or not self._has_begun:
                self._has_begun = True
                return batch._replace(events=(*batch.events, Listed(self._is_complete)))
        return batch

    def _may_begin(self, batch: Batch, now: float) -> bool:
        if self._has_begun:
            return True
        self._readiness.see(batch.events)
        gate = self._readiness.look(
            now,
            is_listed=all(each.is_listed for each in self._others),
            is_node_listed=self._node.is_listed,
        )
        if gate.is_open:
            counts = {each.resource.plural: len(each) for each in self._others}
            complete = all(each.is_complete for each in self.reflectors)
            log.info("listed", **counts, complete=complete, elapsed_ms=(now - self._started) * 1000)
        if gate.missing:
            log.error(
                "beginning without our Node",
                object=f"Node {self._node_name}",
                error=f"{gate.missing} did not come",
                hint="is --hostname-override this node's name? Policies Local, topology and "
                "NodePorts on the primary address depend on it",
            )
        return gate.is_open
