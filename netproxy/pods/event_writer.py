"""Events about Pods: written one after the other, by nobody who has something better to do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from netproxy.api.client import ObjectClient
from netproxy.api.events import event
from netproxy.api.objects import Object
from netproxy.api.resources import CORE_EVENTS
from netproxy.api.status import StatusError
from netproxy.errors import SourceError
from netproxy.log import EventLogger

MOST_WAITING = 1000
"""More than so many are dropped: events are for people."""
_COMPONENT = "netproxy"
log = EventLogger(__name__)


class EventWriter:
    """Takes events at once and writes them later.

    Args:
        client: Speaks to the API.
        node_name: Where they happen.
        clock: Seconds since 1970.
    """

    def __init__(self, client: ObjectClient, node_name: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(MOST_WAITING)

    def tell(self, pod: Object, reason: str, message: str, *, is_bad: bool = False) -> None:
        """Something happened to a Pod.

        Args:
            pod: Which.
            reason: In one word.
            message: For people.
            is_bad: Somebody should look at it.
        """
        now = datetime.fromtimestamp(self._clock(), UTC)
        about = {"apiVersion": "v1", "kind": "Pod", **pod}
        kind = "Warning" if is_bad else "Normal"
        made = event(about, reason, message, _COMPONENT, now, kind=kind)
        made["source"]["host"] = self._node_name
        if not self._waiting.full():
            self._waiting.put_nowait(made)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            made = await self._waiting.get()
            try:
                await self._client.create(CORE_EVENTS, made)
            except (StatusError, SourceError) as error:
                log.debug("event not written", error=str(error))
