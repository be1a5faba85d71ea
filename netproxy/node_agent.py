"""What makes a host a node besides its proxy: membership, routes to other nodes, Pods.

Rule 1: one part that fails takes no other with it, nor the proxy: it is started again.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from netproxy.api.client import ObjectClient
from netproxy.errors import NetproxyError
from netproxy.log import EventLogger
from netproxy.membership.facts import read_facts
from netproxy.membership.joining import Membership
from netproxy.membership.routing import forward_packets, run_routes
from netproxy.membership.settings import MembershipSettings

FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
Part = Callable[[], Awaitable[None]]
log = EventLogger(__name__)


@asynccontextmanager
async def node_agent(client: ObjectClient, settings: MembershipSettings) -> AsyncIterator[None]:
    """Be a node until left. Routes and Pods stay as they are.

    Args:
        client: Speaks to the API.
        settings: Which node this is.

    Raises:
        UnsupportedError: this host or this user cannot do it.
    """
    dice = random.Random().random  # noqa: S311 - spreads load, hides nothing
    membership = Membership(client, settings, read_facts(), lambda: datetime.now(UTC), dice)
    parts: dict[str, Part] = {"membership": membership.run}
    if settings.runs_pods:
        forward_packets()
        parts["routes"] = lambda: run_routes(client, settings.name)
    tasks = [asyncio.create_task(_keep_running(name, part, dice)) for name, part in parts.items()]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_running(name: str, part: Part, jitter: Callable[[], float]) -> None:
    """Run a part for ever; one that fails is started again, after a while."""
    pause = FIRST_RETRY_S
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        async with _ending(asyncio.ensure_future(part())) as task:
            await asyncio.wait([task])
        if task.cancelled():
            return
        error = task.exception()
        # A defect of ours but for a NetproxyError; the proxy goes on either way.
        told = str(error) if isinstance(error, NetproxyError) else _traceback(error)
        log.error("part of the node agent ended", part=name, error=told)
        if loop.time() - began > LONGEST_RETRY_S:
            pause = FIRST_RETRY_S
        await asyncio.sleep(pause * (1.0 + jitter()))
        pause = min(2 * pause, LONGEST_RETRY_S)


@asynccontextmanager
async def _ending(task: asyncio.Future[None]) -> AsyncIterator[asyncio.Future[None]]:
    """A task that ends with the body."""
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _traceback(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)) if error is not None else ""
