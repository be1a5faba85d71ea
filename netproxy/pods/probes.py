"""Asks containers how they are: by TCP, HTTP, or a command; from the node, as the kubelet does."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from netproxy import __version__
from netproxy.api.objects import Object
from netproxy.pods.core.model import Container
from netproxy.pods.core.probing import Tally, Timing, timing_of
from netproxy.pods.keeper.command import Outcome

Execute = Callable[[list[str], float], Awaitable[Outcome]]
"""Runs a command in the container; its second argument is a time limit in seconds."""
FIRST_PAUSE_S = 0.02
_MOST_MESSAGE = 1024
_MOST_HEAD = 16 * 1024


class Result(NamedTuple):
    """What one question has brought."""

    is_good: bool
    message: str


class Tell(NamedTuple):
    """Whom to tell; nobody may wait."""

    started: Callable[[], None]
    """The startup probe has succeeded, or there is none."""
    ready: Callable[[bool], None]
    condemned: Callable[[str], None]
    """It has to be restarted, and why."""
    unhealthy: Callable[[str], None]
    """A question was answered badly, in words."""


class Prober:
    """All probes of one run of a container.

    Args:
        container: With its probes.
        address: Of its Pod.
        execute: Runs commands in it.
        tell: Is told what follows.
    """

    def __init__(self, container: Container, address: str, execute: Execute, tell: Tell) -> None:
        self._spec = container.spec
        self._address = address
        self._execute = execute
        self._tell = tell

    async def run(self) -> None:
        """Ask until cancelled; returns when there is nothing to ask."""
        startup = self._spec.get("startupProbe")
        if startup and not await self._start(startup):
            return
        self._tell.started()
        liveness, readiness = self._spec.get("livenessProbe"), self._spec.get("readinessProbe")
        if not readiness:
            self._tell.ready(True)
        async with asyncio.TaskGroup() as group:
            if readiness:
                group.create_task(self._watch("Readiness", readiness, self._tell.ready))
            if liveness:
                group.create_task(self._watch("Liveness", liveness, self._live))

    def _live(self, is_good: bool) -> None:
        if not is_good:
            self._tell.condemned(f"failed liveness probe, container {self._spec['name']}")

    async def _start(self, probe: Object) -> bool:
        verdict: list[bool] = []
        await self._watch("Startup", probe, verdict.append, is_over=lambda: bool(verdict))
        if not verdict[0]:
            self._tell.condemned(f"failed startup probe, container {self._spec['name']}")
        return verdict[0]

    async def _watch(
        self,
        kind: str,
        probe: Object,
        on_verdict: Callable[[bool], None],
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        timing, tally = timing_of(probe), Tally(timing_of(probe))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(timing.delay_s)
        if kind == "Readiness":
            await self._first_answer(probe, timing)
        while True:
            began = loop.time()
            result = await self.ask(probe, timing.timeout_s)
            if not result.is_good:
                self._tell.unhealthy(f"{kind} probe failed: {result.message}")
            verdict = tally.take(result.is_good)
            if verdict is not None:
                on_verdict(verdict)
                if kind == "Liveness" and not verdict:
                    tally.forget()
            if is_over():
                return
            await asyncio.sleep(max(0.0, began + timing.period_s - loop.time()))

    async def _first_answer(self, probe: Object, timing: Timing) -> None:
        """Ask often at first, for as long as one period: most servers need less to begin.

        What is asked here is only a hint: nothing is counted, and nobody is told. The kubelet
        would wait for the next period.
        """
        deadline = asyncio.get_running_loop().time() + timing.period_s
        pause = FIRST_PAUSE_S
        while not (await self.ask(probe, timing.timeout_s)).is_good:
            pause = min(2 * pause, deadline - asyncio.get_running_loop().time())
            if pause <= 0.0:
                return
            await asyncio.sleep(pause)

    async def ask(self, probe: Object, timeout_s: float) -> Result:
        """One question.

        Args:
            probe: A probe, or a handler of the same form (``lifecycle.preStop``).
            timeout_s: How long an answer may take.
        """
        if "exec" in probe:
            return await self._by_command(probe["exec"]["command"], timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                if "httpGet" in probe:
                    return await self._by_http(probe["httpGet"])
                if "sleep" in probe:
                    await asyncio.sleep(float(probe["sleep"]["seconds"]))
                    return Result(True, "")
                return await self._by_tcp(probe["tcpSocket"])
        except TimeoutError:
            return Result(False, f"no answer within {timeout_s:g} s")
        except (OSError, ValueError) as error:
            return Result(False, str(error))

    async def _by_command(self, command: list[str], timeout_s: float) -> Result:
        outcome = await self._execute(command, timeout_s)
        if outcome.is_timed_out:
            return Result(False, f"command timed out after {timeout_s:g} s")
        return Result(outcome.code == 0, outcome.error or outcome.output[:_MOST_MESSAGE].strip())

    async def _by_tcp(self, where: Object) -> Result:
        host, port = where.get("host") or self._address, self._port(where["port"])
        _, writer = await asyncio.open_connection(host, port)
        await _close(writer)
        return Result(True, "")

    async def _by_http(self, where: Object) -> Result:
        host, port = where.get("host") or self._address, self._port(where["port"])
        is_https = where.get("scheme") == "HTTPS"
        reader, writer = await asyncio.open_connection(
            host, port, ssl=_anybody() if is_https else None, limit=_MOST_HEAD
        )
        try:
            writer.write(_request(where, host, port))
            line = (await reader.readline()).decode(errors="replace").strip()
        finally:
            await _close(writer)
        version, _, rest = line.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/") or not code.isdigit():
            return Result(False, f"the answer is no HTTP: {line[:80]!r}")
        return Result(200 <= int(code) < 400, f"HTTP probe failed with statuscode: {code}")

    def _port(self, port: int | str) -> int:
        """A number, or that of a container's port of this name.

        Raises:
            ValueError: there is no port of that name.
        """
        if isinstance(port, int):
            return port
        for each in self._spec.get("ports") or ():
            if each.get("name") == port:
                return int(each["containerPort"])
        raise ValueError(f"no port is called {port}")


def _anybody() -> ssl.SSLContext:
    """Probes ask whether somebody answers, not who: as the kubelet does."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(where: Object, host: str, port: int) -> bytes:
    path = where.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"host": named, "user-agent": f"netproxy-probe/{__version__}", "accept": "*/*"}
    for each in where.get("httpHeaders") or ():
        headers[each["name"].lower()] = each.get("value", "")
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    text = "\r\n".join([*lines, "connection: close", "", ""])
    return text.encode("latin-1", errors="replace")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
