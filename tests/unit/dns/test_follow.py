"""Names that follow a real API server over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import dns.asyncquery
import pytest

from netproxy.apiclient.objects import HttpObjects
from netproxy.dns.follow import ClusterDns, run_dns
from netproxy.dns.settings import DnsSettings
from netproxy.dns.zone import ZoneSettings
from netproxy.errors import ConfigError
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ClientSettings
from netproxy.model.ip import IPAddress
from netproxy.web import Place
from tests.dns.asking import Said, query, words
from tests.dns.cluster import OBJECTS
from tests.kube.faults import status
from tests.kube.objects import service
from tests.kube.server import ApiServer

HERE = IPAddress("127.0.0.1")
SVC = "default.svc.cluster.local."
PATIENCE_S = 20.0
SETTINGS = DnsSettings((Place(HERE, 0),), upstreams=())


async def ask(dns_: ClusterDns, name: str, type_: str = "A") -> Said:
    (place,) = dns_.server.places
    return words(await dns.asyncquery.udp(query(name, type_), place.host, port=place.port))


async def until(dns_: ClusterDns, name: str, rcode: str) -> Said:
    """Ask until it is said to be so."""
    while True:
        said = await ask(dns_, name)
        if said.rcode == rcode:
            return said
        await asyncio.sleep(0.01)


@asynccontextmanager
async def following(server: ApiServer) -> AsyncIterator[ClusterDns]:
    """Cluster DNS of that server's cluster."""
    client = open_client(ClientSettings(master=server.url, qps=-1))
    dns_ = ClusterDns(HttpObjects(client, "netproxy-dns"), SETTINGS)
    task = asyncio.create_task(dns_.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not dns_.server.places:
                await asyncio.sleep(0)
            yield dns_
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await client.close()


def test_names_come_and_go_with_their_objects() -> None:
    async def story(server: ApiServer) -> None:
        server.put(*OBJECTS)
        async with following(server) as dns_:
            await dns_.ready()
            assert (await ask(dns_, "web." + SVC)).answers == ["A 10.96.0.20"]
            assert (await ask(dns_, "db-0.db." + SVC)).answers == ["A 10.244.1.1"]
            assert (await ask(dns_, "10-244-2-5.default.pod.cluster.local.")).answers
            assert (await ask(dns_, "empty.svc.cluster.local.")).rcode == "NOERROR"
            server.put(service("later", "10.96.0.77"))
            assert (await until(dns_, "later." + SVC, "NOERROR")).answers == ["A 10.96.0.77"]
            server.delete("services", "later")
            await until(dns_, "later." + SVC, "NXDOMAIN")
            server.delete("namespaces", "empty", "")
            await until(dns_, "empty.svc.cluster.local.", "NXDOMAIN")

    with ApiServer() as server:
        asyncio.run(story(server))


@pytest.mark.parametrize("plural", ["services", "endpointslices", "namespaces", "pods"])
def test_nothing_is_said_of_the_cluster_before_all_of_it_is_known(plural: str) -> None:
    async def story(server: ApiServer) -> None:
        server.put(*OBJECTS)
        server.fail(plural, status(500, "InternalError", "not yet"))
        async with following(server) as dns_:
            while len({each.path for each in server.requests}) < 4:
                await asyncio.sleep(0.01)
            assert (await ask(dns_, "web." + SVC)).rcode == "SERVFAIL"
            assert (await ask(dns_, "www.example.com.")).rcode == "NXDOMAIN"
            assert not dns_.is_ready
            server.recover()
            await dns_.ready()
            assert (await ask(dns_, "web." + SVC)).rcode == "NOERROR"

    with ApiServer() as server:
        asyncio.run(story(server))


def test_what_is_known_stays_while_the_server_is_gone_and_is_caught_up_with_after() -> None:
    async def story(server: ApiServer) -> None:
        server.put(*OBJECTS)
        async with following(server) as dns_:
            await dns_.ready()
            server.stop()
            assert (await ask(dns_, "web." + SVC)).rcode == "NOERROR"
            server.delete("services", "web")
            server.put(service("later", "10.96.0.77"))
            server.expire("services")
            server.start()
            await until(dns_, "later." + SVC, "NOERROR")
            await until(dns_, "web." + SVC, "NXDOMAIN")

    with ApiServer() as server:
        asyncio.run(story(server))


def test_impossible_settings_end_it_before_it_begins() -> None:
    settings = SETTINGS._replace(zone=ZoneSettings("x" * 60))

    async def story(server: ApiServer) -> None:
        client = open_client(ClientSettings(master=server.url))
        with pytest.raises(ConfigError):
            await run_dns(HttpObjects(client, "netproxy-dns"), settings)
        await client.close()
        assert server.requests == []

    with ApiServer() as server:
        asyncio.run(story(server))
