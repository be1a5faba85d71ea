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
from netproxy.api.resources import SERVICES
from netproxy.api.status import StatusError
from netproxy.config.settings import ApiSettings
from netproxy.errors import NetproxyError
from netproxy.log import EventLogger
from netproxy.membership.facts import read_facts
from netproxy.membership.joining import Membership
from netproxy.membership.routing import forward_packets, run_routes
from netproxy.membership.settings import MembershipSettings
from netproxy.model.ip import IPAddress
from netproxy.pods.settings import PodSettings

DNS_NAMESPACE, DNS_NAME = "kube-system", "kube-dns"
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 60.0
Part = Callable[[], Awaitable[None]]
log = EventLogger(__name__)


@asynccontextmanager
async def node_agent(
    client: ObjectClient,
    settings: MembershipSettings,
    pods: PodSettings | None,
    rules: asyncio.Event,
) -> AsyncIterator[None]:
    """Be a node until left. Routes and Pods stay as they are.

    Args:
        client: Speaks to the API.
        settings: Which node this is.
        pods: How it runs Pods; None: it runs none.
        rules: Set when the kernel has the rules of all Services. No Pod begins before: the first
            thing it does may be to ask the cluster's DNS.

    Raises:
        UnsupportedError: this host or this user cannot do it.
    """
    dice = random.Random().random  # noqa: S311 - spreads load, hides nothing
    membership = Membership(
        client, settings, read_facts(), lambda: datetime.now(UTC), dice, rules=rules
    )
    parts: dict[str, Part] = {"membership": membership.run}
    if pods is not None:
        forward_packets()
        parts["routes"] = lambda: run_routes(client, settings.name)
        parts["pods"] = lambda: _run_pods(client, pods, rules)
    tasks = [asyncio.create_task(_keep_running(name, part, dice)) for name, part in parts.items()]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_node_agent(
    api: ApiSettings, pods: PodSettings, rules: asyncio.Event
) -> AsyncIterator[None]:
    """Be a node of an API server until left; see ``node_agent``.

    Args:
        api: How to reach it.
        pods: How Pods are run.
        rules: See ``node_agent``.
    """
    from netproxy.apiclient.objects import HttpObjects
    from netproxy.kubernetes.connect import open_client
    from netproxy.kubernetes.contract import ClientSettings

    # The limits are the proxy's, as kube-proxy has them; an agent writes as often as Pods change.
    client = open_client(ClientSettings(*api)._replace(qps=-1.0))
    member = MembershipSettings(pods.node_name, pods.host_addresses)
    try:
        async with node_agent(HttpObjects(client, "netproxy-agent"), member, pods, rules):
            yield
    finally:
        await client.close()


async def _run_pods(client: ObjectClient, settings: PodSettings, rules: asyncio.Event) -> None:
    from netproxy.pods.agent import run_pods

    if not settings.dns_addresses:
        settings = settings._replace(dns_addresses=await _find_dns(client))
    await run_pods(client, settings, rules)


async def _find_dns(client: ObjectClient) -> tuple[IPAddress, ...]:
    """The addresses of the cluster's DNS Service; none: Pods ask whom this host asks."""
    try:
        service = await client.get(SERVICES, DNS_NAME, DNS_NAMESPACE)
    except StatusError as error:
        if error.code != 404:
            raise
        hint = f"Service {DNS_NAMESPACE}/{DNS_NAME} does not exist; see --cluster-dns"
        log.warning("pods get no cluster DNS", hint=hint)
        return ()
    spec = service["spec"]
    return tuple(IPAddress(each) for each in spec.get("clusterIPs") or [spec["clusterIP"]])


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
