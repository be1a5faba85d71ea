"""Open connections and tell, as JSON lines, who answered each.

Rule 1: a script of the standard library alone, started inside a namespace as
``python -I -S probe.py``; ``traffic`` starts it and reads what it prints.
Rule 2: one line per connection, at the moment it ends, so that whoever watches traffic sees
a change while it happens. Times are CLOCK_MONOTONIC, equal for all processes of a machine.

A line: ``{"at": when it was opened, "ms": how long it took, "pod": ..., "client": ...}``, or
with ``error`` instead of the answer.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

_SCTP = 132
_PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, _SCTP),
}
_ANSWER_BYTES = 65536


class Attempt:
    """One connection: opened, waited for, reported."""

    def __init__(self, selector: selectors.BaseSelector, arguments: argparse.Namespace) -> None:
        kind, number = _PROTOCOLS[arguments.protocol]
        family = socket.AF_INET6 if ":" in arguments.address else socket.AF_INET
        self.opened_at = time.monotonic()
        self.received = b""
        self.is_datagram = kind == socket.SOCK_DGRAM
        self.socket = socket.socket(family, kind, number)
        self.socket.setblocking(False)
        self.error = self.socket.connect_ex((arguments.address, arguments.port))
        if self.error in (0, errno.EINPROGRESS):
            self.error = 0
            if self.is_datagram:
                self.send_datagram()
            selector.register(self.socket, selectors.EVENT_READ, self)

    def send_datagram(self) -> None:
        """A UDP "connection" is one question and one answer."""
        try:
            self.socket.send(b"who?\n")
        except OSError as error:
            self.error = error.errno or errno.EIO

    def advance(self) -> bool:
        """Read what there is; whether the connection is over."""
        self.error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if self.error:
            return True
        try:
            data = self.socket.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            self.error = error.errno or errno.EIO
            return True
        self.received += data
        return self.is_datagram or not data

    def report(self) -> dict[str, Any]:
        """The line about this connection."""
        line: dict[str, Any] = {
            "at": self.opened_at,
            "ms": round((time.monotonic() - self.opened_at) * 1000, 3),
        }
        body = self.received.rpartition(b"\r\n\r\n")[2]
        if self.error:
            line["error"] = errno.errorcode.get(self.error, str(self.error))
        elif not body.endswith(b"\n"):
            line["error"] = "closed without an answer"
        else:
            answer = json.loads(body)
            line |= {key: answer[key] for key in ("pod", "address", "port", "client")}
        return line


class Prober:
    """Keeps up to ``--concurrency`` connections open until there were enough of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.selector = selectors.DefaultSelector()
        self.is_over = False
        self.started_at = time.monotonic()
        self.opened = 0
        self.open: dict[socket.socket, Attempt] = {}
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started the probe ends it

    def stop(self, *_: object) -> None:
        """Open no more connections; those that are open may finish."""
        self.is_over = True

    def run(self) -> bool:
        """Until done; whether something answered at least once."""
        has_answer = False
        while not self.is_enough(has_answer=has_answer) or self.open:
            while not self.is_enough(has_answer=has_answer) and self.may_open():
                self.open_one()
            # "Unreachable" during the handshake may be a mere note on the socket that wakes
            # nobody, so when nothing is going on every socket is looked at.
            events = self.selector.select(self.pause_s())
            attempts = [key.data for key, _ in events] or list(self.open.values())
            for attempt in attempts:
                if attempt.advance():
                    has_answer |= self.close(attempt)
            self.expire()
        return has_answer

    def is_enough(self, *, has_answer: bool) -> bool:
        """Whether no more connections are to be opened."""
        arguments = self.arguments
        elapsed_s = time.monotonic() - self.started_at
        if self.is_over or (arguments.duration and elapsed_s > arguments.duration):
            return True
        if arguments.until_answer:
            return has_answer
        return bool(arguments.count and self.opened >= arguments.count)

    def may_open(self) -> bool:
        """Whether one more connection is due by now, and there is room for it."""
        if len(self.open) >= self.arguments.concurrency:
            return False
        return self.pause_s() <= 0 if self.arguments.rate else True

    def pause_s(self) -> float:
        """How long until the next connection is due; with no rate: until something happens."""
        if not self.arguments.rate:
            return 0.05
        due: float = self.started_at + self.opened / self.arguments.rate
        return min(0.05, max(0.0, due - time.monotonic()))

    def open_one(self) -> None:
        """Start one connection; an immediate refusal is reported at once."""
        attempt = Attempt(self.selector, self.arguments)
        self.opened += 1
        self.open[attempt.socket] = attempt
        if attempt.error:
            self.close(attempt)

    def close(self, attempt: Attempt) -> bool:
        """Print the line; whether it was an answer."""
        line = attempt.report()
        del self.open[attempt.socket]
        if attempt.socket in self.selector.get_map():
            self.selector.unregister(attempt.socket)
        attempt.socket.close()
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        return "error" not in line

    def expire(self) -> None:
        """Give up on connections that take too long."""
        limit = time.monotonic() - self.arguments.timeout
        for attempt in [each for each in self.open.values() if each.opened_at < limit]:
            attempt.error = errno.ETIMEDOUT
            self.close(attempt)


def main() -> None:
    """Exit code 0 when something answered at least once."""
    parser = argparse.ArgumentParser(description="Open connections and tell who answered.")
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--protocol", choices=sorted(_PROTOCOLS), default="tcp")
    parser.add_argument("--count", type=int, default=0, help="0: until --duration or SIGTERM")
    parser.add_argument("--duration", type=float, default=0.0, help="seconds; 0: no limit")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.0, help="per second; 0: at full speed")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds per connection")
    parser.add_argument("--until-answer", action="store_true", help="stop at the first answer")
    arguments = parser.parse_args()
    try:
        has_answer = Prober(arguments).run()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        has_answer = False
    sys.exit(0 if has_answer else 1)


if __name__ == "__main__":
    main()
