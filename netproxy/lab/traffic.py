"""Send traffic from a member of a lab, and know what became of every connection.

Not here: the sockets. ``probe`` opens them, as a process inside the namespace.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netproxy.lab import process
from netproxy.lab.process import ProcessError

_MARGIN_S = 20.0
"""How much longer than its own time limits a probe may take on a busy machine."""


class Connection(NamedTuple):
    """What became of one connection."""

    at_s: float
    """CLOCK_MONOTONIC when it was opened."""
    took_ms: float
    pod: str = ""
    """Who answered; empty when nobody did."""
    address: str = ""
    """Where the one who answered took it for being sent to: the pod's own address."""
    client: str = ""
    """Whom the one who answered saw: tells whether it was masqueraded."""
    error: str = ""
    """An errno's name, or a few words; empty when it was answered."""


class Traffic(NamedTuple):
    """What became of many connections."""

    connections: tuple[Connection, ...]

    @property
    def answered(self) -> Counter[str]:
        """Connections per pod that answered."""
        return Counter(each.pod for each in self.connections if not each.error)

    @property
    def failures(self) -> list[Connection]:
        return [each for each in self.connections if each.error]

    def latency_ms(self, fraction: float) -> float:
        """How long that fraction of the answered connections took at most; 0.0 without any."""
        times = sorted(each.took_ms for each in self.connections if not each.error)
        return times[min(len(times) - 1, int(len(times) * fraction))] if times else 0.0


def probe(
    space: str,
    address: str,
    port: int,
    *,
    count: int,
    protocol: str = "tcp",
    concurrency: int = 64,
    timeout_s: float = 3.0,
) -> Traffic:
    """Open that many connections from a namespace and wait for all of them.

    Raises:
        ProcessError: the probe itself broke; connections that fail are in the result.
    """
    running = start_probe(
        space,
        address,
        port,
        options=(
            f"--count={count}",
            f"--protocol={protocol}",
            f"--concurrency={concurrency}",
            f"--timeout={timeout_s}",
        ),
    )
    output = _finish(running, space, timeout_s=count * timeout_s / concurrency + _MARGIN_S)
    return Traffic(tuple(parse_lines(output.splitlines())))


def wait_answer(space: str, address: str, port: int, *, timeout_s: float = 10.0) -> bool:
    """Whether something answers there before the time is over."""
    options = ("--until-answer", f"--duration={timeout_s}", "--rate=20", "--timeout=0.5")
    running = start_probe(space, address, port, options=options)
    _finish(running, space, timeout_s=timeout_s + _MARGIN_S)
    return running.returncode == 0


def start_probe(space: str, address: str, port: int, *, options: Iterable[str]) -> process.Process:
    """A probe that writes a line per connection to its standard output."""
    command = process.script_command(process.PROBE, address, str(port), *options)
    return process.spawn(space, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _finish(running: process.Process, space: str, *, timeout_s: float) -> bytes:
    """What a probe printed, once it has ended."""
    try:
        output, complaint = running.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        running.kill()
        running.communicate()
        raise ProcessError(f"the probe in {space} did not end in {timeout_s:.0f} s") from error
    if complaint:
        raise ProcessError(f"the probe in {space} broke", hint=complaint.decode().strip())
    return output


def parse_lines(lines: Iterable[bytes]) -> Iterable[Connection]:
    """The lines of a probe as values."""
    for line in lines:
        fields = json.loads(line)
        yield Connection(
            at_s=fields["at"],
            took_ms=fields["ms"],
            pod=fields.get("pod", ""),
            address=fields.get("address", ""),
            client=fields.get("client", ""),
            error=fields.get("error", ""),
        )


class Stream:
    """Steady traffic in the background, to be watched while something changes.

    Args:
        space: The namespace it comes from.
        address: Where it goes.
        port: Where it goes.
        rate: Connections per second.
        watch: Called from a thread of the stream with each connection that ended.
    """

    def __init__(
        self,
        space: str,
        address: str,
        port: int,
        *,
        rate: float,
        watch: Callable[[Connection], None] | None = None,
    ) -> None:
        self._connections: list[Connection] = []
        self._watch = watch
        self._process = start_probe(space, address, port, options=(f"--rate={rate}",))
        self._reader = threading.Thread(target=self._read, name="netproxy-stream", daemon=True)
        self._reader.start()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that have ended so far."""
        return tuple(self._connections)

    def stop(self) -> Traffic:
        """Open no more connections, wait for the open ones. Harmless when repeated."""
        process.end(self._process, grace_s=10.0)
        self._reader.join(5.0)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        return Traffic(self.connections)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for connection in parse_lines(self._process.stdout):
            self._connections.append(connection)
            if self._watch is not None:
                self._watch(connection)
