"""The server in every pod: it answers with who it is.

Rule 1: a script of the standard library alone, started as ``python -I -S echo.py``: it must be
there 20 ms after its start, and it must not see netproxy's own modules.
Rule 2: over TCP and SCTP the answer comes at once, without waiting for a request, and is a
valid HTTP response whose body is one line of JSON: ``curl`` and ``nc`` both show something.
Over UDP every datagram is answered by that line.

Once every port is open, one line is written to standard output, which is then closed.
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
from collections.abc import Callable

_SCTP = 132
_IP_PKTINFO = 8
"""linux/in.h; the socket module has it from Python 3.14."""
_BACKLOG = 4096
_DATAGRAM_BYTES = 65536
_PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, _SCTP),
}
_WILDCARDS = {
    "4": (socket.AF_INET, "0.0.0.0"),  # noqa: S104 - all there is in a pod is the pod
    "6": (socket.AF_INET6, "::"),
}
_NOT_IN_THIS_KERNEL = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT)

Selector = selectors.DefaultSelector
Reaction = Callable[[], None]


def identity(name: str, protocol: str, local: tuple[str, int], peer: tuple[str, int]) -> bytes:
    """The line that a connection gets: who answered, and whom it saw."""
    fields = {
        "pod": name,
        "address": local[0],
        "port": local[1],
        "protocol": protocol,
        "client": peer[0],
        "client_port": peer[1],
    }
    return json.dumps(fields).encode() + b"\n"


def http_response(body: bytes) -> bytes:
    """The body as a whole HTTP response."""
    head = f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def open_listener(protocol: str, family: str, port: int) -> socket.socket | None:
    """A non-blocking server socket; None where the kernel lacks the protocol or the family."""
    kind, number = _PROTOCOLS[protocol]
    address_family, wildcard = _WILDCARDS[family]
    try:
        listener = socket.socket(address_family, kind, number)
    except OSError as error:
        if error.errno in _NOT_IN_THIS_KERNEL:
            return None
        raise
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if address_family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listener.bind((wildcard, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:  # IPv6 is switched off here
            return None
        raise
    if kind == socket.SOCK_STREAM:
        listener.listen(_BACKLOG)
    elif address_family == socket.AF_INET:
        listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    else:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    listener.setblocking(False)
    return listener


def accept_stream(selector: Selector, listener: socket.socket, name: str, protocol: str) -> None:
    """Answer one connection; it stays open until the client closes it.

    Closing first, with a request unread, would send a reset that may overtake the answer.
    """
    try:
        connection, peer = listener.accept()
    except OSError:
        return  # the client has already gone
    connection.setblocking(False)

    def drain() -> None:
        try:
            if connection.recv(_DATAGRAM_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        selector.unregister(connection)
        connection.close()

    selector.register(connection, selectors.EVENT_READ, drain)
    try:
        local = connection.getsockname()
        connection.send(http_response(identity(name, protocol, local[:2], peer[:2])))
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        selector.unregister(connection)
        connection.close()


def answer_datagram(listener: socket.socket, name: str) -> None:
    """Answer one datagram, from the very address it was sent to."""
    try:
        _, ancillary, _, peer = listener.recvmsg(_DATAGRAM_BYTES, 128)
    except OSError:
        return
    local = listener.getsockname()
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            local = (socket.inet_ntop(socket.AF_INET, data[8:12]), local[1])
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            local = (socket.inet_ntop(socket.AF_INET6, data[:16]), local[1])
    try:
        listener.sendto(identity(name, "udp", local[:2], peer[:2]), peer)
    except OSError as error:
        sys.stderr.write(f"cannot answer {peer[0]}: {error.strerror}\n")


def reaction_of(selector: Selector, listener: socket.socket, name: str, protocol: str) -> Reaction:
    """What to do when the listener has something."""
    if protocol == "udp":
        return lambda: answer_datagram(listener, name)
    return lambda: accept_stream(selector, listener, name, protocol)


def main() -> None:
    """Listen on every port, protocol and family; answer until SIGTERM."""
    parser = argparse.ArgumentParser(description="Answer every connection with one's identity.")
    parser.add_argument("--name", required=True, help="the identity")
    parser.add_argument("--port", type=int, action="append", required=True)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is not meant for pods
    selector = Selector()
    opened = []
    for port in arguments.port:
        for protocol in _PROTOCOLS:
            for family in _WILDCARDS:
                listener = open_listener(protocol, family, port)
                if listener is not None:
                    reaction = reaction_of(selector, listener, arguments.name, protocol)
                    selector.register(listener, selectors.EVENT_READ, reaction)
                    opened.append(f"{protocol}{family}:{port}")
    sys.stdout.write(f"ready {' '.join(opened)}\n")
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    while True:
        for key, _ in selector.select():
            key.data()


if __name__ == "__main__":
    main()
