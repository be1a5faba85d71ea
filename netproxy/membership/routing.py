"""Keeps this host's routes to the Pods of other nodes as the API's Nodes say.

Rule 1: our routes carry a protocol number of their own: a newborn process finds those of its
forerunner in the kernel, and nobody else's route is ever changed.
Rule 2: a route that cannot be made harms no other; it is tried again, and said once.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor

from netproxy.api.client import ObjectClient
from netproxy.api.informer import Informer
from netproxy.api.objects import Key, Object
from netproxy.api.resources import NODES
from netproxy.errors import DataplaneError, NetproxyError
from netproxy.kernel import sysctl
from netproxy.log import EventLogger
from netproxy.membership.paths import Path, plan_paths
from netproxy.netns.wiring import RouteEntry, Wiring

PROTOCOL = 110
"""Ours, in ``rtm_protocol``; free in iproute2's rt_protos and in what routing daemons use."""
AGAIN_S = 60.0
"""So often all is compared with the kernel, whoever changed it."""
_SETTLE_S = 0.02
_HINT = "nodes need a network in common on which each reaches the others without a router"
log = EventLogger(__name__)


class Router:
    """The routes of the network namespace in which it is made.

    Args:
        own_name: Of this node.
    """

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._wiring = Wiring("this host")
        self._troubles: dict[Path, str] = {}

    def close(self) -> None:
        """Let go of the kernel; routes stay."""
        self._wiring.close()

    def put(self, wanted: frozenset[Path]) -> None:
        """Make the kernel's routes that are ours exactly these.

        Raises:
            DataplaneError: they cannot even be read.
        """
        existing = {_path(each) for each in self._wiring.routes(PROTOCOL)}
        for each in existing - wanted:
            # A prefix that gets another gateway keeps its route until that is replaced.
            if all(each.prefix != other.prefix for other in wanted):
                self._remove(each)
        kept: dict[Path, str] = {}
        for each in sorted(wanted - existing, key=str):
            trouble = self._add(each, {other.prefix: other for other in existing})
            if trouble:
                kept[each] = trouble
        self._troubles = kept

    def _add(self, path: Path, existing: dict[object, Path]) -> str:
        former = existing.get(path.prefix)
        try:
            if former is not None:
                self._remove(former)
            self._wiring.put_route(_entry(path), protocol=PROTOCOL, is_new=True)
        except NetproxyError as error:
            trouble = str(error)
            if self._troubles.get(path) != trouble:
                gateway = path.gateway or "unreachable"
                log.warning(
                    "no route to pods",
                    prefix=str(path.prefix),
                    gateway=gateway,
                    error=trouble,
                    hint=_HINT,
                )
            return trouble
        log.info("route", prefix=str(path.prefix), gateway=path.gateway or "unreachable")
        return ""

    def _remove(self, path: Path) -> None:
        self._wiring.delete_route(_entry(path), protocol=PROTOCOL)


def _path(entry: RouteEntry) -> Path:
    return Path(entry.destination, entry.gateway)


def _entry(path: Path) -> RouteEntry:
    return RouteEntry(path.prefix, path.gateway)


def forward_packets() -> None:
    """Let this host pass on what is for Pods and comes from them.

    A host that forwards IPv6 ignores routers' advertisements, by which it may have its own default
    route, unless it is told to listen all the same: where they are heard now, they go on to be.

    Source: Documentation/networking/ip-sysctl.rst, ``forwarding`` and ``accept_ra``.
    """
    if sysctl.read("net/ipv6/conf/all/forwarding") == "0":
        for scope in sysctl.names("net/ipv6/conf"):
            name = f"net/ipv6/conf/{scope}/accept_ra"
            if scope != "all" and sysctl.read(name) == "1":
                _ensure(name, "2")
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        if sysctl.read(name) is not None:
            _ensure(name, "1")


def _ensure(name: str, value: str) -> None:
    try:
        for done in sysctl.ensure(name, value):
            log.info("host prepared", done=done)
    except DataplaneError as error:
        log.warning("cannot prepare host", setting=name, error=str(error), hint=error.hint)


async def run_routes(client: ObjectClient, own_name: str) -> None:
    """Follow the Nodes until cancelled; routes stay.

    Args:
        client: Speaks to the API.
        own_name: Of this node.
    """
    nodes = Informer(client, NODES, jitter=random.random)
    news = asyncio.Event()

    def changed(key: Key, old: Object | None, new: Object | None) -> None:
        del key, old, new
        news.set()

    nodes.listen(changed)
    # pyroute2's sockets belong to the thread that opened them.
    with ThreadPoolExecutor(1, thread_name_prefix="netproxy-routes") as thread:
        loop = asyncio.get_running_loop()
        router = await loop.run_in_executor(thread, Router, own_name)
        following = asyncio.create_task(nodes.run())
        try:
            await nodes.synced.wait()
            while True:
                news.clear()
                wanted = _wanted(nodes, own_name)
                try:
                    await loop.run_in_executor(thread, router.put, wanted)
                except NetproxyError as error:
                    log.warning("routes not read", error=str(error))
                try:
                    await asyncio.wait_for(news.wait(), AGAIN_S)
                    await asyncio.sleep(_SETTLE_S)
                except TimeoutError:
                    pass
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await loop.run_in_executor(thread, router.close)


def _wanted(nodes: Informer, own_name: str) -> frozenset[Path]:
    return plan_paths(nodes.objects.values(), own_name)
