"""A cluster's whole control plane in one process: API server, controllers, DNS, and who joins in.

Services work without Kubernetes: objects are kept here, addresses are given out here, names are
answered here. The proxy of this node and the agent that runs its Pods are companions like any
other: they speak to the API as those of other nodes do.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from netproxy.api.objects import Object
from netproxy.api.resources import ENDPOINT_SLICES, SERVICES, Resource
from netproxy.api.status import StatusError
from netproxy.apiserver.instance import Instance, ServerSettings, open_api_server, utc_now
from netproxy.assembly import Change, NodeProxy
from netproxy.config.decode import Configuration
from netproxy.config.settings import Settings
from netproxy.controllers.cluster import ControllerSettings, run_controllers
from netproxy.dns.follow import ClusterDns
from netproxy.dns.settings import DnsSettings
from netproxy.log import EventLogger
from netproxy.membership.settings import MembershipSettings
from netproxy.metrics.dns import dns_figures
from netproxy.model.ip import IPAddress
from netproxy.node_agent import DNS_NAME, DNS_NAMESPACE, node_agent
from netproxy.observer import FirstSync
from netproxy.pods.settings import PodSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneSettings:
    """What an operator says about a cluster on one host.

    Attributes:
        server: The API server.
        controllers: What follows from what it is told.
        configuration: Of this node's proxy, as it was given.
        proxy: What that means.
        node_ips: This node's addresses, one, or one of each IP family.
        dns: Names; None: somebody else serves them.
        pods: How this node runs Pods; None: it runs none.
    """

    server: ServerSettings
    controllers: ControllerSettings
    configuration: Configuration
    proxy: Settings
    node_ips: tuple[IPAddress, ...]
    dns: DnsSettings | None = None
    pods: PodSettings | None = None


_STOPPING = (signal.SIGTERM, signal.SIGINT)
log = EventLogger(__name__)


@asynccontextmanager
async def open_cluster(
    server: ServerSettings, controllers: ControllerSettings
) -> AsyncIterator[Instance]:
    """Serve a cluster until left.

    Args:
        server: The API server.
        controllers: What follows from what it is told.

    Raises:
        ConfigError: a file or an address is not to be had.
    """
    async with AsyncExitStack() as stack:
        instance = await stack.enter_async_context(open_api_server(server))
        client = instance.client("netproxy-controllers")
        work = [run_controllers(client, controllers, utc_now)]
        yield await stack.enter_async_context(_beside(instance, work))


@asynccontextmanager
async def _beside(instance: Instance, work: Sequence[Awaitable[None]]) -> AsyncIterator[Instance]:
    """Run tasks while the body runs; the first one that fails takes everything with it."""
    body = asyncio.current_task()
    assert body is not None
    failures: list[BaseException] = []
    tasks = [asyncio.ensure_future(each) for each in work]

    def ended(task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            failures.append(error)
            body.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield instance
    except asyncio.CancelledError:
        if failures:
            raise failures[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_apiserver(server: ServerSettings, controllers: ControllerSettings) -> None:
    """The API server and its controllers alone, until SIGTERM or SIGINT.

    Raises:
        ConfigError: a file or an address is not to be had.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _STOPPING:
        loop.add_signal_handler(each, stopped.set)
    async with open_cluster(server, controllers):
        await stopped.wait()
    log.info("stopped")


async def run_standalone(settings: StandaloneSettings) -> None:
    """A cluster on this host, until SIGTERM or SIGINT; rules and Pods stay as they are.

    Raises:
        ConfigError: a file or an address is not to be had.
        UnsupportedError: this host or this user cannot do it.
    """
    async with open_cluster(settings.server, settings.controllers) as instance:
        work, figures = [], []
        if settings.dns is not None:
            dns = ClusterDns(instance.client("netproxy-dns"), settings.dns)
            work.append(dns.run())
            figures.append(dns_figures(dns.tally, dns.server.cache))
            address, port = settings.server.registry.dns_address, settings.dns.places[0].port
            await publish_dns(instance, address, settings.node_ips, port)
        name = settings.proxy.proxy.node_name
        pods = settings.pods
        member = MembershipSettings(name, settings.node_ips, runs_pods=pods is not None)
        first = FirstSync()
        node = NodeProxy(settings.configuration, settings.proxy, figures=figures, observers=[first])
        async with (
            _beside(instance, work),
            node_agent(instance.client("netproxy-agent"), member, pods, first.done),
        ):
            await node.run(_nothing_changes())


async def _nothing_changes() -> AsyncIterator[Change]:
    """There is no configuration file."""
    nothing: tuple[Change, ...] = ()
    for each in nothing:
        yield each


async def publish_dns(
    instance: Instance, address: str, node_addresses: Sequence[IPAddress], port: int
) -> None:
    """Write Service kube-dns and its endpoints: this node's DNS server.

    Args:
        instance: The API server.
        address: Of the Service; what resolv.conf of pods says.
        node_addresses: Where the server listens; one, or one of each IP family.
        port: At which port.
    """
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": port},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": port},
    ]
    await _put(
        instance,
        SERVICES,
        DNS_NAME,
        {"labels": labels},
        {"spec": {"clusterIP": address, "ports": ports, "type": "ClusterIP"}},
    )
    family = "IPv6" if ":" in address else "IPv4"
    here = [each for each in node_addresses if (":" in each) == (family == "IPv6")]
    endpoint_ports = [
        {"name": each["name"], "port": port, "protocol": each["protocol"]} for each in ports
    ]
    await _put(
        instance,
        ENDPOINT_SLICES,
        DNS_NAME,
        {"labels": {"kubernetes.io/service-name": DNS_NAME}},
        {
            "addressType": family,
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in here],
            "ports": endpoint_ports,
        },
    )


async def _put(
    instance: Instance, resource: Resource, name: str, metadata: Object, members: Object
) -> None:
    """Create an object, or bring it up to date."""
    client = instance.client("netproxy")
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    named = {"name": name, "namespace": DNS_NAMESPACE, **metadata}
    try:
        known = await client.get(resource, name, DNS_NAMESPACE)
    except StatusError as error:
        if error.code != 404:
            raise
        await client.create(resource, {**head, "metadata": named, **members})
        return
    spec = {**known.get("spec", {}), **members["spec"]} if "spec" in members else None
    changed = {**known, **members, **({"spec": spec} if spec else {})}
    if changed != known:
        await client.update(resource, changed)
