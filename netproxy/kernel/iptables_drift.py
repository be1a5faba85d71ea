"""Does anybody else change iptables' rules? Asked cheaply, since legacy iptables tells nobody.

legacy: one getsockopt per table tells how many rules it has, how large they are and where each
built-in chain begins. A rule more or less anywhere changes that; kube-proxy's canary only tells
that everything was flushed. A rule that is exchanged for another of the same size is not seen.

nft: the same tables are nf_tables, whose changes can be heard.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from netproxy.errors import DataplaneError
from netproxy.kernel.nftables import NftListener, open_netlink
from netproxy.model.ip import Family

POLL_S = 5.0
"""How often legacy tables are looked at; it costs some microseconds."""
_TABLES = (b"filter", b"nat")
_SO_GET_INFO = 64
"""Source: IPT_SO_GET_INFO and IP6T_SO_GET_INFO, linux/netfilter_ipv4/ip_tables.h."""
_INFO = struct.Struct("=32s13I")
"""name, valid_hooks, hook_entry[5], underflow[5], num_entries, size."""
_SOCKETS = {
    Family.IPV4: (socket.AF_INET, socket.IPPROTO_IP),
    Family.IPV6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}

Fingerprint = tuple[int, ...]


class LegacyTables:
    """Looks at the legacy tables of the network namespace in which it was made."""

    def __init__(self, family: Family) -> None:
        kind, self._level = _SOCKETS[family]
        self._socket = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def fingerprint(self) -> Fingerprint:
        """What the tables look like from outside.

        Raises:
            DataplaneError: the kernel does not tell.
        """
        return tuple([number for table in _TABLES for number in self._look_at(table)])

    def close(self) -> None:
        self._socket.close()

    def _look_at(self, table: bytes) -> Fingerprint:
        # Python's own getsockopt cannot pass the table's name in.
        buffer = ctypes.create_string_buffer(_INFO.pack(table, *[0] * 13), _INFO.size)
        length = ctypes.c_uint32(_INFO.size)
        failed = self._libc.getsockopt(
            self._socket.fileno(), self._level, _SO_GET_INFO, buffer, ctypes.byref(length)
        )
        if failed:
            number = ctypes.get_errno()
            raise DataplaneError(
                operation="look at", subject=f"table {table.decode()}", errno=number
            )
        return _INFO.unpack(buffer.raw)[1:]


class DriftGuard(Protocol):
    """A drift sensor that is told of our own changes."""

    def fileno(self) -> int | None: ...

    def drain(self) -> bool: ...

    def writing(self, write: Callable[[], None], tables: int) -> None:
        """Carry out a change of our own, of so many tables, which is no drift."""

    def close(self) -> None: ...


class LegacyDrift:
    """See :class:`netproxy.contracts.DriftSensor`. To be polled: it has nothing to wait for."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._tables = [LegacyTables(family) for family in families]
        self._known = self._look()
        self._is_writing = False

    def fileno(self) -> int | None:
        return None

    def drain(self) -> bool:
        if self._is_writing:
            return False
        now = self._look()
        has_drifted, self._known = now != self._known, now
        return has_drifted

    def writing(self, write: Callable[[], None], tables: int) -> None:  # noqa: ARG002 - a guard
        self._is_writing = True
        try:
            write()
        finally:
            self._known = self._look()
            self._is_writing = False

    def close(self) -> None:
        for table in self._tables:
            table.close()

    def _look(self) -> list[Fingerprint]:
        return [table.fingerprint() for table in self._tables]


class NftDrift:
    """See :class:`netproxy.contracts.DriftSensor`. Hears changes of iptables-nft's tables.

    Raises:
        UnsupportedError: there is no nf_tables to hear of.
    """

    def __init__(self) -> None:
        self._netlink = open_netlink()
        self._listener = NftListener(self._netlink, *[table.decode() for table in _TABLES])

    def fileno(self) -> int | None:
        return self._listener.fileno()

    def drain(self) -> bool:
        return self._listener.drain()

    def writing(self, write: Callable[[], None], tables: int) -> None:
        # The program's messages look like anybody's. Deaf meanwhile, we learn from the generation
        # number, to which it adds one per table, whether anybody else made a change.
        before = self._netlink.generation()
        self._listener.mute()
        try:
            write()
        finally:
            self._listener.unmute()
        if self._netlink.generation() != (before + tables) & 0xFFFFFFFF:
            self._listener.has_missed_something = True

    def close(self) -> None:
        self._listener.close()
        self._netlink.close()
