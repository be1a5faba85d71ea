"""Domain names as they stand in messages (RFC 1035, section 3.1), in lower case.

A name is its labels, each behind its length, and a zero. Lengths are at most 63, and so never
letters: ``bytes.lower`` makes equal names equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from netproxy.model.ip import IPAddress, pack_address, parse_address

LONGEST_LABEL = 63
LONGEST_NAME = 255
ROOT = b"\0"
IN_ADDR_ARPA = b"\7in-addr\4arpa\0"
IP6_ARPA = b"\3ip6\4arpa\0"
_HEX = frozenset(b"0123456789abcdef")


def name_of(text: str) -> bytes:
    r"""A name that people write, with or without its last dot.

    Example:
        >>> name_of("Cluster.local")
        b'\x07cluster\x05local\x00'

    Raises:
        ValueError: it is no name: an empty or a long label, or too long as a whole.
    """
    text = text.removesuffix(".")
    if not text:
        return ROOT
    try:
        labels = [label.encode("ascii").lower() for label in text.split(".")]
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is no domain name: only ASCII may stand in one") from None
    return join(labels)


def join(labels: Iterable[bytes], suffix: bytes = ROOT) -> bytes:
    """Labels in front of a name.

    Raises:
        ValueError: a label is empty or too long, or the name would be.
    """
    parts: list[bytes] = []
    for label in labels:
        if not 0 < len(label) <= LONGEST_LABEL:
            raise ValueError(f"a label has 1 to {LONGEST_LABEL} bytes, not {len(label)}")
        parts += (bytes((len(label),)), label)
    name = b"".join((*parts, suffix))
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a domain name has {LONGEST_NAME} bytes at most, not {len(name)}")
    return name


def labels_of(name: bytes) -> list[bytes]:
    """The labels, the leftmost first; the name must be whole."""
    labels = []
    at = 0
    while length := name[at]:
        labels.append(name[at + 1 : at + 1 + length])
        at += length + 1
    return labels


def end_of_name(message: bytes, at: int) -> int:
    """Where a name ends that stands uncompressed in a message.

    Raises:
        ValueError: it does not end, is compressed, or is too long.
    """
    start = at
    try:
        while length := message[at]:
            if length > LONGEST_LABEL:
                raise ValueError("a name is compressed where none can be")
            at += length + 1
    except IndexError:
        raise ValueError("a name does not end") from None
    if at + 1 - start > LONGEST_NAME:
        raise ValueError("a name is too long")
    return at + 1


def text_of(name: bytes) -> str:
    """As people read it, with the last dot; what is not printable is escaped.

    Example:
        >>> text_of(name_of("web.default"))
        'web.default.'
    """
    labels = [label.decode("ascii", "backslashreplace") for label in labels_of(name)]
    return "".join(f"{label}." for label in labels) or "."


def reverse_name(packed: bytes) -> bytes:
    """Where the PTR records of an address are.

    Example:
        >>> text_of(reverse_name(bytes((10, 96, 0, 1))))
        '1.0.96.10.in-addr.arpa.'
    """
    if len(packed) == 4:
        return join([b"%d" % byte for byte in reversed(packed)], IN_ADDR_ARPA)
    digits = packed.hex().encode()
    return join([digits[i : i + 1] for i in range(31, -1, -1)], IP6_ARPA)


def reversed_address(labels: list[bytes]) -> bytes | None:
    """The address, packed, whose PTR records are there; None: this is no address's name.

    Example:
        >>> list(reversed_address([b"1", b"0", b"96", b"10", b"in-addr", b"arpa"]))
        [10, 96, 0, 1]
    """
    end, digits = labels[-2:], labels[:-2]
    if end == [b"in-addr", b"arpa"] and len(digits) == 4:
        numbers = [_decimal(label) for label in reversed(digits)]
        return bytes(numbers) if max(numbers) < 256 else None
    if end != [b"ip6", b"arpa"] or len(digits) != 32:
        return None
    if not all(len(label) == 1 and label[0] in _HEX for label in digits):
        return None
    return bytes.fromhex(b"".join(reversed(digits)).decode("ascii"))


def _decimal(label: bytes) -> int:
    """A byte as it is written in in-addr.arpa; 256 for anything else."""
    if not label.isdigit() or len(label) > 3 or (label[0:1] == b"0" and len(label) > 1):
        return 256
    return int(label)


def dashed_address(packed: bytes, text: str) -> bytes:
    """An address as a label: ``10-244-1-2``, ``fd00--1``.

    Args:
        packed: The address; only its length counts.
        text: The same in canonical text.
    """
    return text.replace("." if len(packed) == 4 else ":", "-").encode("ascii")


def address_of_label(label: bytes) -> bytes | None:
    """The packed address that is written with dashes; None: it is none.

    Example:
        >>> list(address_of_label(b"10-244-1-2"))
        [10, 244, 1, 2]
    """
    text = label.decode("ascii", "replace")
    dot = "." if text.count("-") == 3 and "--" not in text else ":"
    try:
        address: IPAddress = parse_address(text.replace("-", dot))
    except ValueError:
        return None
    packed = pack_address(address)
    # Other spellings of the same address, 010-0-0-1 or 0-0--1, are names of nothing.
    return packed if dashed_address(packed, address) == label else None
