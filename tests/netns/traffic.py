"""Real TCP connections through a node, while something happens to its rules.

Three namespaces: a client, the node that routes and translates, and pods that answer with their
own address. Everything is local sockets; nothing outside the namespaces is reached.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.netns.namespace import NetworkNamespace
from tests.patience import patience

CLIENT = "203.0.113.2"
PODS = ("10.180.0.1", "10.180.2.1")
PORT = 80
NODE_IP = "192.168.0.2"
_AT_ONCE = struct.pack("ii", 1, 0)
_PATIENCE_S = patience(5)
"""An unanswered connection attempt of TCP is repeated after a second; this is no timed test."""


class World:
    """A client, a node, and pods with an echo server each. Use it in ``with``."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.node = self._stack.enter_context(NetworkNamespace())
        self.client = self._stack.enter_context(NetworkNamespace())
        self.pods = self._stack.enter_context(NetworkNamespace())

    def __enter__(self) -> Self:
        self.node.write_sysctl("net.ipv4.ip_forward", "1\n")
        self._connect(self.client, "out0", "203.0.113.1/24", [f"{CLIENT}/24"], "203.0.113.1")
        addresses = [f"{pod}/16" for pod in PODS]
        self._connect(self.pods, "pod0", "10.180.255.254/16", addresses, "10.180.255.254")
        self.node.run("ip", "addr", "add", f"{NODE_IP}/32", "dev", "lo")
        # A router has somewhere to send everything, or packets would not get as far as the rules.
        self.node.run("ip", "route", "add", "default", "dev", "pod0")
        for pod in PODS:
            self._stack.enter_context(EchoServer(self.pods, pod, PORT))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stack.close()

    def _connect(
        self,
        space: NetworkNamespace,
        name: str,
        own: str,
        theirs: Sequence[str],
        gateway: str,
    ) -> None:
        """A cable from the node, which is the other side's way to everywhere."""
        self.node.call(lambda: _make_cable(name, space.descriptor))
        self.node.run("ip", "addr", "add", own, "dev", name)
        self.node.run("ip", "link", "set", name, "up")
        for address in theirs:
            space.run("ip", "addr", "add", address, "dev", name)
        space.run("ip", "link", "set", name, "up")
        space.run("ip", "route", "add", "default", "via", gateway)


def _make_cable(name: str, other_end: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        peer = {"ifname": name, "net_ns_fd": other_end}
        route.link("add", ifname=name, kind="veth", peer=peer)


class EchoServer:
    """Sends its own address to whoever connects, then echoes what it is sent."""

    def __init__(self, space: NetworkNamespace, address: str, port: int) -> None:
        self._address = address
        self._listener = space.call(lambda: socket.create_server((address, port), backlog=512))
        self._listener.setblocking(False)
        self._end, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join(_PATIENCE_S)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector, self._listener, self._end:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._end, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._end:
                        _close_all(selector)
                        return
                    if one is self._listener:
                        connection, _ = one.accept()
                        connection.sendall(self._address.encode() + b"\n")
                        selector.register(connection, selectors.EVENT_READ)
                    else:
                        self._answer(selector, one)

    @staticmethod
    def _answer(selector: selectors.BaseSelector, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
            if data:
                connection.sendall(data)
                return
        except OSError:
            pass
        selector.unregister(connection)
        connection.close()


def _close_all(selector: selectors.BaseSelector) -> None:
    for key in list(selector.get_map().values()):
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()


class Traffic:
    """Connections one after the other, and one that stays, until it is left.

    Attributes:
        reached: How many connections each pod answered.
        failures: What went wrong, in words.
    """

    def __init__(self, space: NetworkNamespace, destination: tuple[str, int]) -> None:
        self._space = space
        self._destination = destination
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.reached: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._lasting = self._connect()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * _PATIENCE_S)
        self._lasting.close()

    def wait_for(self, connections: int) -> None:
        """Return when so many more connections have been made or have failed."""
        target = self._count() + connections
        while self._count() < target:
            assert self._thread.is_alive()
            self._stop.wait(0.01)

    def _count(self) -> int:
        return self.reached.total() + len(self.failures)

    def _connect(self) -> socket.socket:
        def connect() -> socket.socket:
            return socket.create_connection(self._destination, _PATIENCE_S)

        connection = self._space.call(connect)
        try:
            self.reached[connection.recv(64).decode().strip()] += 1
        except OSError:
            connection.close()
            raise
        return connection

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    # Ended by a reset, or thousands would hold their port for a minute each.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                self._lasting.sendall(b"still there?")
                if self._lasting.recv(64) != b"still there?":
                    self.failures.append("the lasting connection ended")
            except OSError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
