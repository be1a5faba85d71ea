"""Batches for small sockets, and what the kernel answers; without a kernel."""

from __future__ import annotations

import errno
import struct

import pytest

from netproxy.errors import DataplaneError
from netproxy.kernel import nfnetlink
from netproxy.kernel.nfnetlink import _acknowledgements, _check_dump_end, _cut, _refused
from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft.transaction import AddChain, AddTable, Transaction
from netproxy.nft.wire import Message, encode

LIMIT = 150_000
HEADER = struct.Struct("=IHHII")
ACK_TLVS, ERROR, DONE = 0x200, 2, 3


def _messages(*sizes: int) -> list[Message]:
    """Messages with bodies so large; negative ones are glued to the one before."""
    return [Message(12, 0, bytes(abs(s)), n, is_glued=s < 0) for n, s in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "cut"),
    [
        ((), []),
        ((10,), [1]),
        ((10, 20, 30), [3]),
        ((LIMIT * 2,), [1]),
        ((LIMIT * 2, 1), [1, 1]),
        ((100_000, 40_000, 40_000), [2, 1]),
        ((100_000, -100_000), [2]),
        ((100_000, 100_000), [1, 1]),
        ((100_000, -100_000, 100_000, -100_000), [2, 2]),
        ((100_000, 49_000, -2_000, -100_000, 10), [4, 1]),
        ((1, -LIMIT, -LIMIT, 1, 1), [3, 2]),
        ((-5, 5), [2]),
    ],
)
def test_batches_are_cut_between_what_holds_together(
    sizes: tuple[int, ...], cut: list[int]
) -> None:
    messages = _messages(*sizes)
    batches = list(_cut(messages))
    assert [len(batch) for batch in batches] == cut
    assert [m for batch in batches for m in batch] == messages


def test_no_batch_is_too_large_for_the_smallest_socket() -> None:
    messages = _messages(*[7_000] * 100)
    batches = list(_cut(messages))
    assert all(sum(len(m.body) + 20 for m in batch) <= LIMIT + 20 for batch in batches)
    assert len(batches) == 5
    assert nfnetlink._SMALLEST_BATCH == LIMIT


def _answer(number: int, sequence: int, text: str | None = None, more: bytes = b"") -> bytes:
    """An acknowledgement as the kernel writes it, with the header of our message in it."""
    body = struct.pack("=i", -number) + HEADER.pack(20, 0xA00, 5, sequence, 0)
    flags = 0x100
    if text is not None:
        flags |= ACK_TLVS
        body += more + nl.text(1, text)
    return HEADER.pack(16 + len(body), ERROR, flags, sequence, 0) + body


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        (b"", []),
        (_answer(0, 7), [(7, 0, "")]),
        (_answer(errno.ENOENT, 8), [(8, errno.ENOENT, "")]),
        (_answer(errno.EBUSY, 9, "in use"), [(9, errno.EBUSY, "in use")]),
        # The offset of the attribute comes first, as in the kernel.
        (_answer(errno.EINVAL, 9, "odd", nl.u32(2, 36)), [(9, errno.EINVAL, "odd")]),
        (_answer(errno.EINVAL, 9, "ab"), [(9, errno.EINVAL, "ab")]),
        (
            _answer(errno.EEXIST, 1, "one")
            + HEADER.pack(20, 0xA00, 0, 2, 0)
            + bytes(4)
            + _answer(errno.EPERM, 3)
            + _answer(0, 4),
            [(1, errno.EEXIST, "one"), (3, errno.EPERM, ""), (4, 0, "")],
        ),
    ],
)
def test_acknowledgements(buffer: bytes, expected: list[tuple[int, int, str]]) -> None:
    padded = buffer + bytes(-len(buffer) % 4)
    assert list(_acknowledgements(padded)) == expected


def test_the_sequence_is_that_of_the_message_that_is_answered() -> None:
    answer = bytearray(_answer(errno.ENOENT, 5))
    struct.pack_into("=I", answer, 8, 99)
    assert list(_acknowledgements(bytes(answer))) == [(5, errno.ENOENT, "")]


def test_text_without_its_flag_is_not_read() -> None:
    answer = bytearray(_answer(errno.EBUSY, 5, "in use"))
    struct.pack_into("=H", answer, 6, 0x100)
    assert list(_acknowledgements(bytes(answer))) == [(5, errno.EBUSY, "")]


TRANSACTION = Transaction(Family.IPV6, "netproxy", [AddTable(), AddChain("web")])


@pytest.mark.parametrize(
    ("index", "detail", "message"),
    [
        (0, "", "cannot add table ip6 netproxy: Operation not permitted (EPERM)"),
        (1, "why", "cannot add chain ip6 netproxy web: why (EPERM)"),
    ],
)
def test_a_refusal_names_the_operation(index: int, detail: str, message: str) -> None:
    found = _refused(errno.EPERM, detail, TRANSACTION, encode(TRANSACTION), index)
    assert found.message == message
    assert found.hint == "netproxy needs CAP_NET_ADMIN in this network namespace: run it as root"


@pytest.mark.parametrize("index", [-1, 2])
def test_a_refusal_of_the_whole_batch(index: int) -> None:
    found = _refused(errno.EMSGSIZE, "", TRANSACTION, encode(TRANSACTION), index)
    assert found.message.startswith("cannot commit a batch of 2 messages (")
    assert found.message.endswith("): Message too long (EMSGSIZE)")
    assert found.hint == "the batch does not fit the socket buffer: raise net.core.wmem_max"


def test_an_error_without_advice() -> None:
    assert _refused(errno.EIO, "", TRANSACTION, encode(TRANSACTION), 0).hint is None


def test_the_end_of_a_dump() -> None:
    head = HEADER.pack(20, DONE, 0, 1, 0)
    _check_dump_end(head, 0)
    _check_dump_end(head + struct.pack("=i", 0), 0)
    with pytest.raises(DataplaneError, match=r"^cannot read the nf_tables rule set: .*\(ENOENT\)$"):
        _check_dump_end(b"1234" + head + struct.pack("=i", -errno.ENOENT), 4)
