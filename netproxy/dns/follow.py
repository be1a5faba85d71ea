"""Cluster DNS that follows an API server, in this process or over HTTP."""

from __future__ import annotations

import asyncio
import random
from functools import partial

from netproxy.api.client import ObjectClient
from netproxy.api.informer import Informer
from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource
from netproxy.dns.index import FOLLOWED
from netproxy.dns.responder import Responder
from netproxy.dns.server import DnsServer
from netproxy.dns.settings import DnsSettings
from netproxy.dns.tally import Tally
from netproxy.dns.zone import Zone
from netproxy.log import EventLogger

log = EventLogger(__name__)


class ClusterDns:
    """Names of a cluster, from the moment that its API server has told all of them.

    Until then questions about the cluster are answered with SERVFAIL, and all others as always:
    who asks learns at once that it is worth asking again, or somebody else, where silence would
    cost seconds and NXDOMAIN be believed; and an address that cannot be used is noticed at the
    start. When the API server is gone later, what is known stays.

    Args:
        client: Tells of objects.
        settings: See there.

    Raises:
        ConfigError: the settings are impossible.
    """

    def __init__(self, client: ObjectClient, settings: DnsSettings) -> None:
        settings.check()
        self.tally = Tally()
        self._responder = Responder(Zone(settings.zone), random.random, is_ready=False)
        self.server = DnsServer(self._responder, settings, tally=self.tally)
        self._informers = [Informer(client, each, jitter=random.random) for each in FOLLOWED]
        self._ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        """Whether all names of the cluster are known."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Wait until all names of the cluster are known."""
        await self._ready.wait()

    async def run(self) -> None:
        """Answer until cancelled.

        Raises:
            UnsupportedError: an address cannot be used.
        """
        await self.server.open()
        try:
            async with asyncio.TaskGroup() as group:
                for each in self._informers:
                    each.listen(partial(self._changed, each.resource))
                    group.create_task(each.run())
                group.create_task(self._wait())
        finally:
            await self.server.close()

    def _changed(
        self,
        resource: Resource,
        key: Key,
        old: Object | None,  # noqa: ARG002 - part of OnChange
        new: Object | None,
    ) -> None:
        self._responder.change(resource, key, new)

    async def _wait(self) -> None:
        for each in self._informers:
            await each.synced.wait()
        self._responder.is_ready = True
        self._ready.set()
        log.info("names are known", server="dns", services=len(self._informers[0].objects))


async def run_dns(client: ObjectClient, settings: DnsSettings) -> None:
    """Answer until cancelled; see ``ClusterDns``, which also says when it is ready."""
    await ClusterDns(client, settings).run()
