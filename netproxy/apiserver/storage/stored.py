"""Objects and their changes as they are kept: encoded once, decoded for who has to look inside."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import msgspec

from netproxy.api.objects import Key, Object, labels_of

EventKind: TypeAlias = Literal["ADDED", "MODIFIED", "DELETED"]

_NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Object).decode


class Stored:
    """One state of one object. It never changes, so everybody may share it."""

    __slots__ = ("data", "key", "labels", "version")

    def __init__(self, key: Key, version: int, data: bytes, labels: Mapping[str, str]) -> None:
        self.key = key
        self.version = version
        self.data: Final = data
        """The object as JSON, its resourceVersion in it."""
        self.labels = labels

    @property
    def object(self) -> Object:
        """Decoded anew each time: most are only ever copied out as they are."""
        return _decode(self.data)


def encode_state(key: Key, version: int, obj: Object) -> tuple[Stored, Object]:
    """An object's state with its version put in: encoded, and as an object."""
    versioned = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
    return Stored(key, version, _encode(versioned), labels_of(versioned) or _NO_LABELS), versioned


def decode_state(key: Key, version: int, data: bytes) -> Stored:
    """An object's state as it was written."""
    return Stored(key, version, data, labels_of(_decode(data)) or _NO_LABELS)


class Event:
    """What one write did to one object."""

    def __init__(
        self, resource: str, version: int, before: Stored | None, after: Stored | None, last: Stored
    ) -> None:
        self.resource: Final = resource
        """As it is stored: ``Resource.stored_as``, or ``qualified``."""
        self.version: Final = version
        self.before: Final = before
        """None: it came."""
        self.after: Final = after
        """None: it went."""
        self.last: Final = last
        """What is told: the new state, or the last one, with the version of its end."""

    @property
    def key(self) -> Key:
        return self.last.key

    @cached_property
    def _lines(self) -> dict[EventKind, bytes]:
        return {}

    def line(self, kind: EventKind, state: Stored) -> bytes:
        """A line of a watch; of the usual state it is made once for all watchers."""
        if state is not self.last:
            return encode_line(kind, state.data)
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = encode_line(kind, state.data)
        return line


def encode_line(kind: str, data: bytes) -> bytes:
    """One event as a watch has it: an object in one line."""
    return b'{"type":"%b","object":%b}\n' % (kind.encode(), data)
