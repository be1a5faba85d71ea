"""Cluster DNS as the programs see it that everybody uses: dig, glibc's resolver, dnsmasq, rules."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from netproxy.dns.server import DnsServer
from netproxy.dns.settings import DnsSettings
from netproxy.dns.upstreams import Upstream
from netproxy.model.ip import IPAddress
from netproxy.web import Place
from tests.dns.cluster import SETTINGS, endpoint, filled, headless, put, slice_of
from tests.netns.namespace import NetworkNamespace

HERE, HERE6 = IPAddress("127.0.0.1"), IPAddress("::1")
EVERYWHERE, EVERYWHERE6 = IPAddress("0.0.0.0"), IPAddress("::")
SVC = "default.svc.cluster.local"
PATIENCE_S = 30.0
Scene = Callable[[DnsServer], Awaitable[None]]


@asynccontextmanager
async def serving(
    hosts: Sequence[IPAddress] = (HERE,), *, port: int = 53, upstreams: Sequence[Upstream] = ()
) -> AsyncIterator[DnsServer]:
    """The cluster of tests, with a Service of many endpoints."""
    responder = filled()
    put(responder, headless("big"))
    endpoints = [endpoint(f"10.245.{n // 200}.{n % 200 + 1}") for n in range(400)]
    put(responder, slice_of("big", "big-1", endpoints))
    places = tuple(Place(host, port) for host in hosts)
    server = DnsServer(responder, DnsSettings(places, SETTINGS, tuple(upstreams)))
    await server.open()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield server
    finally:
        await server.close()


async def run(*command: str) -> str:
    """What a command prints; it runs in this thread's namespace."""
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout


async def dig(*arguments: str) -> str:
    """What dig says, who complains of whatever is odd."""
    said = await run("dig", "+tries=1", "+timeout=10", *arguments)
    for complaint in (";; Warning", "WARNING: M", "malformed", "mismatch", "unexpected"):
        assert complaint not in said, said
    return said


async def short(*arguments: str) -> list[str]:
    """The data of all answers, sorted."""
    return sorted((await dig("+short", *arguments)).split("\n")[:-1])


def test_dig_reads_every_kind_of_record(netns: NetworkNamespace) -> None:
    async def scene() -> None:
        async with serving([HERE, HERE6]):
            for at in ("@127.0.0.1", "@::1"):
                for how in ("+notcp", "+tcp"):
                    assert await short(at, how, f"web.{SVC}") == ["10.96.0.20"]
                    assert await short(at, how, f"web.{SVC}", "AAAA") == ["fd00:96::20"]
                    assert await short(at, how, "-x", "10.96.0.20") == [f"web.{SVC}."]
                    assert await short(at, how, "-x", "fd00:96::20") == [f"web.{SVC}."]
                    srv = await short(at, how, f"_sql._tcp.db.{SVC}", "SRV")
                    assert srv[1] == f"0 100 5432 db-0.db.{SVC}."
                    assert len(await short(at, how, f"big.{SVC}")) == 400
                    assert await short(at, how, "cluster.local", "NS") == ["ns.dns.cluster.local."]
                    assert await short(at, how, "dns-version.cluster.local", "TXT") == ['"1.1.0"']
                    alias = await short(at, how, f"inside.{SVC}")
                    assert alias == ["10.96.0.20", f"web.{SVC}."]

    netns.call(lambda: asyncio.run(scene()))


def test_dig_finds_nothing_odd_in_odd_answers(netns: NetworkNamespace) -> None:
    async def scene() -> None:
        async with serving():
            at = "@127.0.0.1"
            for arguments, words in (
                ((f"web.{SVC}", "+dnssec", "+nsid", "+ednsopt=100:abcd"), "status: NOERROR"),
                ((f"web.{SVC}", "+edns=1", "+noednsneg"), "status: BADVERS"),
                ((f"web.{SVC}", "+noedns"), "ADDITIONAL: 0"),
                ((f"web.{SVC}", "+opcode=STATUS"), "status: NOTIMP"),
                ((f"web.{SVC}", "+opcode=UPDATE"), "status: NOTIMP"),
                ((f"web.{SVC}", "ANY", "+notcp"), 'HINFO\t"RFC8482" ""'),
                (("cluster.local", "AXFR"), "Transfer failed"),
                (("version.bind", "TXT", "CH"), "status: REFUSED"),
                ((f"x.{SVC}",), "status: NXDOMAIN"),
                ((f"bare.{SVC}", "AAAA"), "SOA\tns.dns.cluster.local."),
                ((f"big.{SVC}", "+ignore", "+noedns", "+notcp"), "flags: qr aa tc rd ra"),
                ((f"web.{SVC}", "+norecurse"), "flags: qr aa ra;"),
                (("www.example.com",), "status: NXDOMAIN"),  # there are no upstreams
                ((f"WEB.{SVC}",), f"WEB.{SVC}."),
            ):
                assert words in await dig(at, *arguments), arguments
            several = await dig(at, "+tcp", "+keepopen", *[f"web.{SVC}", "A"] * 20)
            assert several.count("10.96.0.20") == 20

    netns.call(lambda: asyncio.run(scene()))


def test_answers_come_from_the_address_that_was_asked(netns: NetworkNamespace) -> None:
    """Also at sockets that hear every address; dig takes no other."""
    for address in ("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128", "fd00::2/128"):
        netns.run(
            "ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else [])
        )

    async def scene() -> None:
        async with serving([EVERYWHERE, EVERYWHERE6]):
            for source, target in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
                for how in ("+notcp", "+tcp"):
                    said = await dig(how, "-b", source, f"@{target}", f"web.{SVC}")
                    assert "10.96.0.20" in said
                    assert f"SERVER: {target}#53" in said

    netns.call(lambda: asyncio.run(scene()))


_ASK_GLIBC = """
import json, socket, sys
def ask(name):
    try:
        found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return error.strerror
    return sorted({each[4][0] for each in found})
def reverse(address):
    return socket.getnameinfo((address, 0), 0)[0]
print(json.dumps([*map(ask, sys.argv[2:]), reverse(sys.argv[1])]))
"""


def test_programs_that_use_glibc_find_names(netns: NetworkNamespace, tmp_path: Path) -> None:
    """As in a pod: search paths, five dots, and what does not fit."""
    conf = tmp_path / "resolv.conf"
    names = ["web", "web.default", f"web.{SVC}", "db", "db-0.db", "inside", "big", "bare", "nope"]

    async def scene() -> None:
        async with serving([HERE, HERE6]):
            for options in ("ndots:5", "ndots:5 edns0", "ndots:1 use-vc", "ndots:5 single-request"):
                for nameserver in (HERE, HERE6):
                    conf.write_text(
                        f"nameserver {nameserver}\noptions {options}\n"
                        f"search {SVC} svc.cluster.local cluster.local\n"
                    )
                    said = await run(
                        *("unshare", "--mount", "sh", "-c"),
                        'mount --bind "$0" /etc/resolv.conf && exec "$@"',
                        *(str(conf), sys.executable, "-c", _ASK_GLIBC, "10.244.1.1", *names),
                    )
                    found = dict(zip([*names, "reverse"], json.loads(said), strict=True))
                    web = ["10.96.0.20", "fd00:96::20"]
                    assert [found[name] for name in (*names[:3], "inside")] == [web] * 4
                    db = ["10.244.1.1", "10.244.1.2", "10.244.1.3", "fd00:244::1", "fd00:244::3"]
                    assert found["db"] == db
                    assert found["db-0.db"] == ["10.244.1.1", "fd00:244::1"]
                    assert len(found["big"]) == 400
                    assert found["bare"] == ["10.96.0.21"]
                    assert found["nope"] == "Name or service not known"
                    assert found["reverse"] == f"db-0.db.{SVC}"

    netns.call(lambda: asyncio.run(scene()))


@contextmanager
def dnsmasq(*options: str) -> Iterator[subprocess.Popen[str]]:
    """The server that half of all home routers have, at 127.0.0.2."""
    command = [
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--listen-address=127.0.0.2", "--bind-interfaces", "--user=", "--group=", "--pid-file=",
        "--log-facility=-", "--local=/example.com/", "--auth-ttl=60", "--local-ttl=60", *options,
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "started" in line:
                break
        else:
            pytest.fail(f"dnsmasq ended with {process.wait()}")
        try:
            yield process
        finally:
            process.terminate()
            process.stderr.close()


def test_what_dnsmasq_knows_is_found_through_us(netns: NetworkNamespace) -> None:
    many = [f"--host-record=many.example.com,192.0.2.{n}" for n in range(1, 201)]
    others = [
        "--host-record=www.example.com,192.0.2.7,2001:db8::7",
        "--cname=alias.example.com,www.example.com",
        "--txt-record=long.example.com," + ",".join("x" * 200 for _ in range(10)),
        "--srv-host=_ldap._tcp.example.com,www.example.com,389",
        "--ptr-record=7.2.0.192.in-addr.arpa,www.example.com",
    ]

    async def scene() -> None:
        upstream = Upstream(IPAddress("127.0.0.2"))
        async with serving(upstreams=[upstream]) as server:
            at = "@127.0.0.1"
            with dnsmasq(*many, *others):
                for how in ("+notcp", "+tcp"):
                    assert await short(at, how, "www.example.com") == ["192.0.2.7"]
                    assert await short(at, how, "www.example.com", "AAAA") == ["2001:db8::7"]
                    alias = await short(at, how, "alias.example.com")
                    assert alias == ["192.0.2.7", "www.example.com."]
                    assert len(await short(at, how, "many.example.com")) == 200
                    (text,) = await short(at, how, "long.example.com", "TXT")
                    assert text.count("x") == 2000
                    srv = await short(at, how, "_ldap._tcp.example.com", "SRV")
                    assert srv == ["0 0 389 www.example.com."]
                    assert await short(at, how, "-x", "192.0.2.7") == ["www.example.com."]
                    assert "NXDOMAIN" in await dig(at, how, "nope.example.com")
                    outside = await short(at, how, f"outside.{SVC}")
                    assert outside == ["192.0.2.7", "www.example.com."]
            assert await short(at, "www.example.com") == ["192.0.2.7"], "it was kept"
            assert "SERVFAIL" in await dig(at, "other.example.com")
            assert server.tally.crashes == 0

    netns.call(lambda: asyncio.run(scene()))


def test_a_circle_through_rules_is_noticed(
    netns: NetworkNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A host whose resolv.conf names the Service that leads to us."""
    netns.run("ip", "address", "add", "10.96.0.10/32", "dev", "lo")
    rules = """table ip circle {
        chain output {
            type nat hook output priority -100;
            ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 53 dnat to 127.0.0.1:5300
        }
    }"""
    netns.run("nft", "-f", "-", stdin=rules)

    async def scene() -> None:
        ourselves = Upstream(IPAddress("10.96.0.10"))
        async with serving(port=5300, upstreams=[ourselves]) as server:
            at = ("@127.0.0.1", "-p", "5300")
            transport = server.tally.transports["udp", 4]
            for number in itertools.count():
                before = sum(map(sum, transport.counts))
                assert "SERVFAIL" in await dig(*at, f"{number}.example.com")
                if sum(map(sum, transport.counts)) == before + 1:
                    break  # nobody but dig has asked

    netns.call(lambda: asyncio.run(scene()))
    assert "upstream is ourselves" in caplog.messages
