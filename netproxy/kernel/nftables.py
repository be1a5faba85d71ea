"""The kernel's side of a table: read it, change it, hear when somebody else does."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.kernel.addresses import has_family
from netproxy.kernel.nfnetlink import NETLINK_NETFILTER, InterruptedDumpError, NfnetlinkSocket
from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft import decode
from netproxy.nft.expr import Rule
from netproxy.nft.objects import Elements, Hook, Ruleset, SetSpec, Vocabulary, family_word
from netproxy.nft.transaction import AddTable, DeleteTable, Operation, Transaction

_READ_ATTEMPTS = 20
_GROUP_NFTABLES = 7
"""Source: NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h."""
_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2
_SO_RCVBUFFORCE = 33
_NLMSG = struct.Struct("=IHHII")
_LOUD = 512
"""A transaction of more objects than this is not listened to: see ``NftListener.muted``."""


class KernelTable:
    """One table in the network namespace in which the socket was opened."""

    def __init__(
        self,
        netlink: NfnetlinkSocket,
        family: Family,
        table: str,
        listener: NftListener | None = None,
    ) -> None:
        self._netlink = netlink
        self._family = family
        self._table = table
        self._listener = listener

    @property
    def family(self) -> Family:
        return self._family

    @property
    def batches_sent(self) -> int:
        return self._netlink.batches_sent

    @property
    def bytes_sent(self) -> int:
        return self._netlink.bytes_sent

    def commit(self, transaction: Transaction) -> None:
        """See :class:`netproxy.contracts.Table`."""
        if self._listener is None or transaction.size() <= _LOUD:
            self._netlink.commit(transaction)
            return
        # The kernel would tell the listener of every element. Deaf meanwhile, it learns from the
        # generation number whether anybody else made a change in this time.
        before, batches = self._netlink.generation(), self._netlink.batches_sent
        self._listener.mute()
        try:
            self._netlink.commit(transaction)
        finally:
            self._listener.unmute()
        batches = self._netlink.batches_sent - batches
        if self._netlink.generation() != (before + batches) & 0xFFFFFFFF:
            self._listener.has_missed_something = True

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:
        """See :class:`netproxy.contracts.Table`. Reads again if the table changes meanwhile."""
        for _ in range(_READ_ATTEMPTS):
            try:
                before = self._netlink.generation()
                raw = self._dump()
                if self._netlink.generation() == before:
                    break
            except InterruptedDumpError:
                continue
        else:
            raise DataplaneError(
                operation="read",
                subject=f"table {self._table}",
                errno=errno.EINTR,
                hint="some program changes nf_tables all the time; look at: nft monitor",
            )
        rules: Iterable[Rule] = vocabulary(raw.hooks)
        return decode.recognise(raw, self._family, self._table, rules=rules, sets=sets)

    def read_counts(self, name: str) -> dict[bytes, int]:
        """See :class:`netproxy.contracts.Table`."""
        where = nl.text(nl.ELEMENTS_TABLE, self._table) + nl.text(nl.ELEMENTS_SET, name)
        counts: dict[bytes, int] = {}
        for _ in range(_READ_ATTEMPTS):
            try:
                for message in self._netlink.dump(nl.MSG_GETSETELEM, self._family, where):
                    counts.update(decode.decode_counts(message))
            except InterruptedDumpError:
                continue
            break
        return counts

    @property
    def label(self) -> str:
        """For messages: ``table ip netproxy``."""
        return f"table {family_word(self._family)} {self._table}"

    def exists(self) -> bool:
        """Whether the table is there, be it empty."""
        dump = self._netlink.dump(nl.MSG_GETTABLE, self._family)
        return self._table in [decode.decode_table(message) for message in dump]

    def delete(self) -> None:
        """Delete the table with everything in it, if it is there."""
        # Adding first makes deleting succeed either way.
        operations: list[Operation] = [AddTable(), DeleteTable()]
        self.commit(Transaction(self._family, self._table, operations))

    def _dump(self) -> decode.RawTable:
        raw = decode.RawTable(self._chains(), {}, {}, {})
        if raw.hooks:
            by_table = nl.text(nl.RULE_TABLE, self._table)
            for message in self._netlink.dump(nl.MSG_GETRULE, self._family, by_table):
                table, chain, rule = decode.decode_rule(message)
                if table == self._table:
                    raw.rules.setdefault(chain, []).append(rule)
        for name, declared in self._names_of_sets().items():
            raw.sets[name] = declared
            # What rules put in is the kernel's own, and may be a lot.
            raw.elements[name] = {} if declared.is_dynamic else self._elements(name)
        return raw

    def _chains(self) -> dict[str, Hook | None]:
        found: dict[str, Hook | None] = {}
        for message in self._netlink.dump(nl.MSG_GETCHAIN, self._family):
            table, name, hook = decode.decode_chain(message)
            if table == self._table:
                found[name] = hook
        return found

    def _names_of_sets(self) -> dict[str, decode.RawSet]:
        found = {}
        by_table = nl.text(nl.SET_TABLE, self._table)
        try:
            for message in self._netlink.dump(nl.MSG_GETSET, self._family, by_table):
                table, name, declared = decode.decode_set(message)
                if table == self._table:
                    found[name] = declared
        except DataplaneError as error:
            if error.errno != errno.ENOENT:
                raise
        return found

    def _elements(self, name: str) -> Elements:
        where = nl.text(nl.ELEMENTS_TABLE, self._table) + nl.text(nl.ELEMENTS_SET, name)
        elements: Elements = {}
        for message in self._netlink.dump(nl.MSG_GETSETELEM, self._family, where):
            elements.update(decode.decode_elements(message))
        return elements


class NftListener:
    """Hears every change of nf_tables in this namespace, and tells ours from those of others.

    Args:
        netlink: Changes that are made with this socket are ours.
        tables: Only theirs count.
    """

    def __init__(self, netlink: NfnetlinkSocket, *tables: str) -> None:
        self.has_missed_something = False
        """Set when a change of somebody else went by while muted."""
        self._own_port = netlink.port
        self._tables = tuple([table.encode() + b"\0" for table in tables])
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
        )
        self._socket.bind((0, 0))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)

    def fileno(self) -> int:
        """For the event loop: readable when something changed."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take in what was heard.

        Returns:
            True when somebody else changed our table, or when too much happened to tell.
        """
        is_foreign, self.has_missed_something = self.has_missed_something, False
        while True:
            try:
                buffer = self._socket.recv(1 << 18)
            except BlockingIOError:
                return is_foreign
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise DataplaneError(
                        operation="hear", subject="changes of nf_tables", errno=error.errno or 0
                    ) from error
                is_foreign = True
                continue
            is_foreign = is_foreign or self._has_foreign_change(buffer)

    def _has_foreign_change(self, buffer: bytes) -> bool:
        offset = 0
        while offset < len(buffer):
            length, kind, _, _, port = _NLMSG.unpack_from(buffer, offset)
            message = kind & 0xFF
            is_foreign = port != self._own_port and message != nl.MSG_NEWGEN
            # In all messages about a table the first attribute is the table's name.
            if is_foreign and buffer.startswith(self._tables, offset + 24):
                return True
            offset += (length + 3) & ~3
        return False

    def mute(self) -> None:
        """Stop listening, before a large change of our own: a message per element would follow."""
        self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, _GROUP_NFTABLES)

    def unmute(self) -> None:
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)

    def close(self) -> None:
        self._socket.close()


def open_netlink() -> NfnetlinkSocket:
    """A socket to nf_tables, after a look at whether this host and user can use it.

    Raises:
        UnsupportedError: no nf_tables in the kernel, or no CAP_NET_ADMIN in this namespace.
    """
    netlink = NfnetlinkSocket()
    try:
        netlink.generation()
    except DataplaneError as error:
        netlink.close()
        if error.errno in (errno.EPERM, errno.EACCES):
            raise UnsupportedError(
                "programming nf_tables needs CAP_NET_ADMIN, which this process "
                f"(user {os.geteuid()}) does not have in this network namespace",
                hint="run it as root, or look without touching: netproxy render",
            ) from error
        raise UnsupportedError(
            f"this kernel has no usable nf_tables: {error.message}",
            hint="load it with: modprobe nf_tables; netproxy needs Linux 5.10 or newer",
        ) from error
    return netlink


class Tables:
    """Our table in each family, and an ear for changes, in the calling thread's namespace.

    Raises:
        UnsupportedError: see ``open_netlink``.
    """

    def __init__(self, table: str, families: Iterable[Family], *, listen: bool = False) -> None:
        self._netlink = open_netlink()
        self.listener = NftListener(self._netlink, table) if listen else None
        self.by_family = {
            family: KernelTable(self._netlink, family, table, self.listener)
            for family in families
            if has_family(family)
        }

    def delete(self) -> list[str]:
        """Delete our tables; returns their names, for those that were there."""
        there = [table for table in self.by_family.values() if table.exists()]
        for table in there:
            table.delete()
        return [table.label for table in there]

    def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
        self._netlink.close()

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
