"""One netlink socket to nf_tables: batches out, acknowledgements and dumps in.

Source: Documentation/userspace-api/netlink/intro.rst; nfnetlink_rcv_batch in
net/netfilter/nfnetlink.c. The kernel works a batch off inside ``send``, so every answer is
waiting when ``send`` returns.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from types import TracebackType

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft.transaction import DeleteSet, Transaction, describe
from netproxy.nft.wire import Message, encode, frame, request

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT = 10, 11, 12
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLM_F_DUMP, _NLM_F_DUMP_INTR, _NLM_F_ACK_TLVS = 0x300, 0x10, 0x200
_NLMSG = struct.Struct("=IHHII")
_SEND_BUFFER = 1 << 30
"""A limit, not memory that is taken; a batch goes out in one piece."""
_SMALLEST_BATCH = 150_000
"""Bytes that fit any socket: half of the default net.core.wmem_max, which counts overhead too."""
_RECEIVE = 1 << 16
"""The kernel makes pieces of a dump of at most 32 KiB."""
_EXT_ACK_TEXT = 1


class InterruptedDumpError(Exception):
    """The rule set changed while it was read; read again."""


class NfnetlinkSocket:
    """A socket in the calling thread's network namespace; it stays there for life."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        except OSError as error:
            raise UnsupportedError(
                f"this kernel has no nfnetlink: {error.strerror}",
                hint="load it with: modprobe nfnetlink nf_tables",
            ) from error
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._sequence = 0
        self.batches_sent = 0
        """Successful commits; each adds one to the rule set's generation."""
        self.bytes_sent = 0
        """Of successful commits."""
        self.is_privileged = self._enlarge_buffers()

    @property
    def port(self) -> int:
        """Our netlink address; the kernel names it as the author of our changes."""
        return int(self._socket.getsockname()[0])

    def _enlarge_buffers(self) -> bool:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        except PermissionError:
            # Root of a user namespace only: batches must be cut.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            return False
        return True

    def commit(self, transaction: Transaction) -> None:
        """Carry out a transaction: in one atomic batch wherever the socket allows its size.

        Without CAP_NET_ADMIN in the first user namespace a batch has to fit the default socket
        buffer; a larger transaction is then cut into several, each of which leaves the rules
        harmless (see :mod:`netproxy.nft.transaction`).

        Raises:
            DataplaneError: the kernel refused; nothing of the batch took effect.
        """
        messages = encode(transaction)
        if not messages:
            return
        for piece in [messages] if self.is_privileged else _cut(messages):
            self._commit_batch(piece, transaction)

    def _commit_batch(self, messages: Sequence[Message], transaction: Transaction) -> None:
        first = self._sequence
        size, refusals = self._send_batch(messages, transaction)
        if refusals:
            sequence, number, detail = refusals[0]
            raise _refused(number, detail, transaction, messages, sequence - first - 1)
        self.batches_sent += 1
        self.bytes_sent += size

    def rehearse(self, transaction: Transaction) -> dict[int, int]:
        """What the kernel would refuse of a transaction, none of which takes effect.

        The kernel goes through all of a batch before it commits any of it, and tells of every
        message that it refuses. The last one here is a mistake on purpose.

        Returns:
            The index of each refused operation → why, as an errno.

        Raises:
            DataplaneError: the kernel does not even look at it.
        """
        mistake = Transaction(
            transaction.family,
            transaction.table,
            [*transaction.operations, DeleteSet("there-is-no-such-set")],
        )
        messages = encode(mistake)
        first = self._sequence
        _, refusals = self._send_batch(messages, mistake)
        refused: dict[int, int] = {}
        for sequence, number, detail in refusals:
            index = sequence - first - 1
            if not 0 <= index < len(messages):
                raise _refused(number, detail, mistake, messages, -1)
            refused.setdefault(messages[index].operation, number)
        if refused.pop(len(transaction.operations), None) is None:
            raise _refused(errno.EIO, "a mistake was accepted", mistake, messages, -1)
        return refused

    def _send_batch(
        self, messages: Sequence[Message], transaction: Transaction
    ) -> tuple[int, list[tuple[int, int, str]]]:
        """Send a batch; returns its size, and (sequence, errno, text) of all that was refused.

        Raises:
            DataplaneError: it cannot be sent.
        """
        first = self._sequence
        batch = frame(messages, transaction.family, first_sequence=first)
        self._sequence = first + len(messages) + 1
        try:
            self._socket.send(batch)
        except OSError as error:
            raise _refused(error.errno or errno.EIO, "", transaction, messages, -1) from error
        refusals: list[tuple[int, int, str]] = []
        while True:
            try:
                buffer = self._socket.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return len(batch), refusals
            except OSError as error:
                # Too many errors for the receive buffer: the batch was refused all the same.
                if not refusals:
                    refusals.append((first, error.errno or errno.EIO, ""))
                return len(batch), refusals
            refusals += [
                (sequence, number, detail)
                for sequence, number, detail in _acknowledgements(buffer)
                if number and first <= sequence <= self._sequence
            ]

    def dump(self, kind: int, family: Family, body: bytes = b"") -> Iterator[bytes]:
        """Every message of a dump, from its nfgenmsg on.

        Raises:
            InterruptedDumpError: the rule set changed meanwhile.
            DataplaneError: the kernel refused; ENOENT when the table does not exist.
        """
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(request(kind, family, body, flags=_NLM_F_DUMP, sequence=sequence))
        is_interrupted = False
        while True:
            buffer = self._socket.recv(_RECEIVE)
            offset, end = 0, len(buffer)
            while offset < end:
                length, message, flags, number, _ = _NLMSG.unpack_from(buffer, offset)
                if number == sequence:
                    is_interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                    if message in (_NLMSG_DONE, _NLMSG_ERROR):
                        _check_dump_end(buffer, offset)
                        if is_interrupted:
                            raise InterruptedDumpError
                        return
                    yield buffer[offset + 16 : offset + length]
                offset += (length + 3) & ~3

    def generation(self) -> int:
        """The number of the rule set's generation: every commit of anybody adds one."""
        self._sequence += 1
        body = request(nl.MSG_GETGEN, Family.IPV4, b"", flags=0, sequence=self._sequence)
        self._socket.send(body)
        number = None
        while number != self._sequence:  # a refused batch may have left answers behind
            buffer = self._socket.recv(_RECEIVE)
            length, kind, _, number, _ = _NLMSG.unpack_from(buffer)
        if kind == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", buffer, 16)[0]
            raise DataplaneError(operation="read", subject="the generation", errno=code)
        return nl.read_u32(nl.read(buffer[:length], 20)[nl.GENERATION_ID])

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> NfnetlinkSocket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _cut(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """Batches that fit an unprivileged socket; glued messages stay together."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and size + len(message.body) > _SMALLEST_BATCH and not message.is_glued:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.body) + 20
    if batch:
        yield batch


def _acknowledgements(buffer: bytes) -> Iterator[tuple[int, int, str]]:
    """(sequence, errno, text) of every acknowledgement; errno 0 means success."""
    offset = 0
    while offset < len(buffer):
        length, kind, flags, _, _ = _NLMSG.unpack_from(buffer, offset)
        if kind == _NLMSG_ERROR:
            number, _, _, _, sequence, _ = struct.unpack_from("=iIHHII", buffer, offset + 16)
            detail = ""
            if flags & _NLM_F_ACK_TLVS:
                extra = nl.read(buffer[offset + 36 : offset + length])
                detail = nl.read_text(extra.get(_EXT_ACK_TEXT, b""))
            yield sequence, -number, detail
        offset += (length + 3) & ~3


def _check_dump_end(buffer: bytes, offset: int) -> None:
    number = struct.unpack_from("=i", buffer, offset + 16)[0] if len(buffer) >= offset + 20 else 0
    if number < 0:
        raise DataplaneError(operation="read", subject="the nf_tables rule set", errno=-number)


_HINTS = {
    errno.EPERM: "netproxy needs CAP_NET_ADMIN in this network namespace: run it as root",
    errno.EACCES: "netproxy needs CAP_NET_ADMIN in this network namespace: run it as root",
    errno.ENOBUFS: "the batch does not fit the socket buffer: raise net.core.wmem_max",
    errno.EMSGSIZE: "the batch does not fit the socket buffer: raise net.core.wmem_max",
    errno.ENOMEM: "the kernel is out of memory for rules",
    errno.EOPNOTSUPP: "this kernel lacks an nf_tables feature: netproxy needs 5.10 or newer with "
    "nft_nat, nft_masq, nft_fib, nft_reject and nft_numgen",
    errno.ENOENT: "something else changed the table meanwhile, and the next sync compares "
    "everything; or, if this is about a rule, the kernel lacks one of nft_nat, nft_masq, nft_fib, "
    "nft_reject, nft_numgen, nft_ct",
    errno.EEXIST: "something else changed the table meanwhile; the next sync compares everything",
    errno.EBUSY: "something else refers to it; look at: nft list ruleset",
}


def _refused(
    number: int,
    detail: str,
    transaction: Transaction,
    messages: Sequence[Message],
    index: int,
) -> DataplaneError:
    """The error for message number ``index`` of a batch, or for the batch when out of range."""
    if 0 <= index < len(messages):
        operation = transaction.operations[messages[index].operation]
        words, subject = describe(transaction, operation)
    else:
        words, subject = "commit a batch", f"of {len(messages)} messages ({os.getpid()})"
    return DataplaneError(
        operation=words, subject=subject, errno=number, detail=detail, hint=_HINTS.get(number)
    )
