"""Both servers on loopback, asked over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from typing import NamedTuple

import pytest

from netproxy.core.config import ProxyMode
from netproxy.errors import UnsupportedError
from netproxy.health.state import HealthState
from netproxy.metrics.proxy import ProxyMetrics
from netproxy.metrics.registry import Looked
from netproxy.model.ip import Family, IPAddress
from netproxy.serving import ServeTrouble, Serving, Shown, Where, addresses, open_serving
from netproxy.web import Place

HOME = IPAddress("127.0.0.1")
ANYWHERE = Where(Place(HOME, 0), Place(HOME, 0))
CONFIGURATION = {"kubeproxy.config.k8s.io": {"mode": "nftables", "clusterCIDR": "10.0.0.0/8"}}
PATIENCE_S = 20.0


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Node:
    """Its servers, and what they reported."""

    def __init__(self, serving: Serving, metrics: ProxyMetrics, health: HealthState) -> None:
        self.serving = serving
        self.metrics = metrics
        self.health = health
        self.mode = "nftables"
        self.refreshed = 0

    async def refresh(self) -> None:
        self.refreshed += 1

    async def ask(
        self, path: str, method: str = "GET", *, at: str = "metrics", **headers: str
    ) -> Reply:
        stand = self.serving.health if at == "health" else self.serving.metrics
        port = stand.port
        assert port is not None

        def talk() -> Reply:
            with closing(http.client.HTTPConnection(HOME, port, timeout=PATIENCE_S)) as there:
                there.request(
                    method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
                )
                answer = there.getresponse()
                return Reply(answer.status, dict(answer.headers), answer.read())

        return await asyncio.to_thread(talk)

    async def curl(self, *arguments: str) -> str:
        """What curl says of a page of the metrics address."""
        *options, path = arguments
        command = ["curl", "-sS", *options, f"http://{HOME}:{self.serving.metrics.port}{path}"]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return str(run.stdout)


@asynccontextmanager
async def a_node(
    where: Where = ANYWHERE, reported: list[ServeTrouble] | None = None
) -> AsyncIterator[Node]:
    health, metrics = HealthState(), ProxyMetrics()
    health.begin((Family.IPV4,), 60.0)
    metrics.began(ProxyMode.NFTABLES, (Family.IPV4,))
    node: Node

    async def refresh() -> None:
        await node.refresh()

    shown = Shown(
        lambda: node.mode,
        lambda: CONFIGURATION,
        lambda: {"--profiling": True},
        refresh,
    )
    report = (lambda _: None) if reported is None else reported.append
    async with open_serving(
        where, health=health, metrics=metrics, shown=shown, report=report
    ) as serving:
        node = Node(serving, metrics, health)
        yield node


def play(
    scene: Callable[[Node], Awaitable[None]],
    where: Where = ANYWHERE,
    reported: list[ServeTrouble] | None = None,
) -> None:
    async def run() -> None:
        async with asyncio.timeout(PATIENCE_S), a_node(where, reported) as node:
            await scene(node)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_health_is_answered_and_counted() -> None:
    async def scene(node: Node) -> None:
        assert (await node.ask("/healthz", at="health")).status == 200
        assert (await node.ask("/livez", at="health")).status == 200
        assert (await node.ask("/readyz", at="health")).status == 503
        node.health.sync_started()
        node.health.sync_ended({Family.IPV4})
        answer = await node.ask("/readyz", at="health")
        assert (answer.status, json.loads(answer.body)["ready"]) == (200, True)
        assert (await node.ask("/metrics", at="health")).status == 404, "not for strangers"
        body = (await node.ask("/metrics")).body.decode()
        assert 'kubeproxy_proxy_healthz_total{code="200"} 1.0' in body
        assert 'netproxy_readyz_total{code="503"} 1.0' in body

    play(scene)


def test_metrics_are_plain_text_and_compressed_on_request() -> None:
    async def scene(node: Node) -> None:
        plain = await node.ask("/metrics")
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "Content-Encoding" not in plain.headers
        small = await node.ask("/metrics", accept_encoding="gzip")
        assert small.headers["Content-Encoding"] == "gzip"
        assert b"kubeproxy_sync_proxy_rules" in gzip.decompress(small.body)
        assert len(small.body) < len(plain.body) / 3
        assert "kubernetes_build_info" in await node.curl("--compressed", "/metrics")

    play(scene)


def test_what_curl_makes_of_a_head() -> None:
    async def scene(node: Node) -> None:
        lines = (await node.curl("--head", "/metrics")).splitlines()
        assert lines[0].startswith("HTTP/1.1 200")
        assert not [line for line in lines if "aiohttp" in line or "Python" in line]
        assert await node.curl("-o", "/dev/null", "-w", "%{http_code}", "/nowhere") == "404"

    play(scene)


def test_pages_for_people_and_programs() -> None:
    async def scene(node: Node) -> None:
        assert (await node.ask("/healthz")).body == b"ok"
        assert (await node.ask("/healthz/ping")).body == b"ok"
        assert (await node.ask("/proxyMode")).body == b"nftables"
        node.mode = "iptables"
        mode = await node.ask("/proxyMode")
        assert mode.body == b"iptables", "the mode may change while it runs"
        assert mode.headers["Content-Type"].startswith("text/plain")
        assert json.loads((await node.ask("/configz")).body) == CONFIGURATION
        assert b"--profiling=True\n" in (await node.ask("/flagz")).body
        status = (await node.ask("/statusz")).body.decode()
        assert "Mode: iptables\n" in status
        assert "/proxyMode" in status
        assert "/debug" not in status
        slis = (await node.ask("/metrics/slis")).body.decode()
        assert (
            'kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 2' in slis
        )

    play(scene)


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/debug/pprof/", "/debug/stacks", "/../metrics"]
)
def test_there_is_nothing_else(path: str) -> None:
    async def scene(node: Node) -> None:
        assert (await node.ask(path)).status == 404

    play(scene)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nobody_changes_anything(method: str) -> None:
    async def scene(node: Node) -> None:
        answer = await node.ask("/metrics", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")

    play(scene)


def test_stacks_are_shown_when_profiling_is_on() -> None:
    async def scene(node: Node) -> None:
        text = (await node.ask("/debug/stacks")).body.decode()
        assert " tasks\n" in text
        assert "MainThread" in text
        assert "/debug/stacks" in (await node.ask("/statusz")).body.decode()
        node.serving.move(ANYWHERE)
        assert (await node.ask("/debug/stacks")).status == 404

    play(scene, ANYWHERE._replace(profiling=True))


def test_a_page_with_a_bug_takes_nothing_else_down(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(node: Node) -> None:
        def read() -> list[tuple[tuple[str, ...], float]]:
            raise KeyError("nobody")

        node.metrics.look(Looked("netproxy_broken", "Cannot be read.", read))
        assert (await node.ask("/metrics")).status == 500
        assert (await node.ask("/healthz")).status == 200

    play(scene)
    assert "page crashed" in [record.getMessage() for record in caplog.records]


def test_a_slow_scrape_does_not_keep_the_loop_waiting() -> None:
    async def scene(node: Node) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def read() -> list[tuple[tuple[str, ...], float]]:
            begun.set()
            go_on.wait(PATIENCE_S)
            return []

        node.metrics.look(Looked("netproxy_slow", "Takes its time.", read))
        scrape = asyncio.create_task(node.ask("/metrics"))
        await until(begun.is_set)
        assert (await node.ask("/healthz", at="health")).status == 200
        assert not scrape.done()
        go_on.set()
        assert (await scrape).status == 200

    play(scene)


def test_scrapers_that_hang_keep_nobody_out_of_health() -> None:
    async def scene(node: Node) -> None:
        assert node.serving.metrics.port
        hanging = [
            await asyncio.open_connection(HOME, node.serving.metrics.port) for _ in range(100)
        ]
        assert (await node.ask("/healthz", at="health")).status == 200
        assert (await node.ask("/healthz")).status == 200
        for _, writer in hanging:
            writer.close()

    play(scene)


def taken() -> socket.socket:
    """A port that is in use."""
    sock = socket.socket()
    sock.bind((HOME, 0))
    sock.listen()
    return sock


def test_a_port_in_use_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(addresses, "RETRY_S", 0.01)
    rival = taken()
    port = int(rival.getsockname()[1])
    reported: list[ServeTrouble] = []

    async def scene(node: Node) -> None:
        await asyncio.sleep(0.1)  # several attempts
        assert node.serving.metrics.port is None
        assert (await node.ask("/healthz", at="health")).status == 200
        rival.close()
        await until(lambda: node.serving.metrics.port == port)
        assert (await node.ask("/healthz")).status == 200

    play(scene, ANYWHERE._replace(metrics=Place(HOME, port)), reported)
    assert [(each.server, each.address, each.error) for each in reported] == [
        ("metrics", f"127.0.0.1:{port}", "Address already in use"),
        ("metrics", f"127.0.0.1:{port}", ""),
    ]
    assert "--metrics-bind-address" in reported[0].hint
    assert len([r for r in caplog.records if r.getMessage() == "cannot listen"]) == 1


def test_a_port_in_use_ends_the_start_when_that_was_asked_for() -> None:
    with closing(taken()) as rival:
        port = int(rival.getsockname()[1])

        async def scene(node: Node) -> None:
            raise AssertionError(node)

        with pytest.raises(UnsupportedError) as caught:
            play(scene, Where(Place(HOME, port), Place(HOME, 0), hard_fail=True))
    assert caught.value.message == (
        f"cannot answer health requests at 127.0.0.1:{port}: Address already in use"
    )
    assert "--healthz-bind-address" in (caught.value.hint or "")


def test_addresses_may_change_while_it_runs() -> None:
    async def scene(node: Node) -> None:
        first = node.serving.metrics.port
        other = Place(IPAddress("127.0.0.2"), 0)
        node.serving.move(Where(None, other))
        assert node.serving.health.port is None
        assert node.serving.metrics.port not in (None, first)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOME, first)
        node.serving.move(ANYWHERE)
        assert (await node.ask("/healthz", at="health")).status == 200

    play(scene)


def test_a_move_that_must_not_fail_and_does_changes_nothing() -> None:
    async def scene(node: Node) -> None:
        with closing(taken()) as rival:
            place = Place(HOME, int(rival.getsockname()[1]))
            elsewhere = Place(IPAddress("127.0.0.2"), 0)
            with pytest.raises(UnsupportedError):
                node.serving.move(Where(elsewhere, place, hard_fail=True, profiling=True))
        assert (await node.ask("/healthz")).status == 200
        assert (await node.ask("/healthz", at="health")).status == 200
        assert (await node.ask("/debug/stacks")).status == 404

    play(scene)


def test_an_address_of_somebody_else_is_named() -> None:
    reported: list[ServeTrouble] = []

    async def scene(node: Node) -> None:
        assert node.serving.health.port is None

    play(scene, Where(Place(IPAddress("192.0.2.1"), 10256), None), reported)
    [trouble] = reported
    assert "does not have that address" in trouble.hint


def test_a_scrape_brings_up_to_date_what_is_known_only_then() -> None:
    async def ask() -> None:
        async with a_node() as node:
            assert (await node.ask("/proxyMode")).status == 200
            assert node.refreshed == 0
            assert (await node.ask("/metrics")).status == 200
            assert node.refreshed == 1

    asyncio.run(ask())
