"""A network namespace of one test, and a thread that lives in it.

A namespace belongs to a thread, and a socket to the namespace in which it was opened. So each
namespace here has a thread of its own: what must happen inside is called there, and the sockets
that it opens may be used from anywhere.

The namespace has no name. When the thread ends it is gone, however the test run ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.patience import patience

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
IFF_UP, IFF_NOARP = 0x1, 0x80
_COMMAND_TIMEOUT_S = patience(60)

_T = TypeVar("_T")


class CommandError(AssertionError):
    """A command inside a namespace failed; the message has what it printed."""


class NetworkNamespace:
    """A fresh network namespace with loopback up. Close it, or use it in ``with``.

    Raises:
        OSError: this user may not make one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="netns")
        self._ident = self._thread.submit(threading.get_ident).result()
        try:
            self.call(_unshare_network)
            self.descriptor = self.call(lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        except OSError:
            self._thread.shutdown()
            raise
        self.set_flags("lo", IFF_UP)

    def call(self, function: Callable[[], _T]) -> _T:
        """What the function returns when it runs inside; its exceptions are raised here.

        Whoever is inside already may call too.
        """
        if threading.get_ident() == self._ident:
            return function()
        return self._thread.submit(function).result()

    def run(self, *command: str, stdin: str = "") -> str:
        """What a command prints when it runs inside.

        Raises:
            CommandError: it failed.
        """
        done = self.call(
            lambda: subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        )
        if done.returncode != 0:
            raise CommandError(f"{' '.join(command)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def write_sysctl(self, name: str, value: str) -> None:
        """For example ``net.ipv4.ip_forward``; an interface's dots must be written as slashes."""
        path = Path("/proc/sys", name.replace(".", "/"))
        self.call(lambda: path.write_text(value))

    def set_flags(self, interface: str, flags: int) -> None:
        """Add flags such as ``IFF_UP`` to an interface."""
        self.call(lambda: _add_interface_flags(interface, flags))

    def close(self) -> None:
        """End the thread; with its last socket the namespace is gone."""
        os.close(self.descriptor)
        self._thread.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@cache
def missing_right() -> str:
    """Why this process cannot make network namespaces; empty when it can."""
    try:
        NetworkNamespace().close()
    except OSError as error:
        return f"no network namespace to be had: {error.strerror}"
    return ""


def _unshare_network() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _add_interface_flags(interface: str, flags: int) -> None:
    request = struct.Struct("16sH14x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = interface.encode()
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, request.pack(name, 0))
        now = request.unpack(answer)[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request.pack(name, now | flags))
