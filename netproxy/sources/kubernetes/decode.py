"""What an API server sends → what it says about objects. Nothing that it sends raises here.

Each watch event is decoded in one pass, straight into the few fields that are read. What does not
fit is looked at once more, to learn at least which object it is about.

Not here: what follows from it (``reflector.py``).
"""

from __future__ import annotations

import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from netproxy.errors import SourceError
from netproxy.model import api
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import ModelObject, ObjectKey
from netproxy.model.findings import Findings, shorten
from netproxy.model.parse import explain, one_line, parse_typed

T = TypeVar("T")

Version = int | str
"""A resourceVersion. Kubernetes' are numbers that grow; of others only equality is known."""

_IMPOSSIBLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _Annotations(
    msgspec.Struct,
    gc=False,
    rename={
        "trigger_time": "endpoints.kubernetes.io/last-change-trigger-time",
        "ends_initial_events": "k8s.io/initial-events-end",
    },
):
    """The two that matter; all others are skipped, however many there are."""

    trigger_time: str | None = None
    ends_initial_events: str | None = None


class _Metadata(api.Metadata, rename="camel", gc=False):
    resource_version: str | None = None
    annotations: _Annotations | None = None


class _Service(api.Service, gc=False):
    metadata: _Metadata | None = None


class _EndpointSlice(api.EndpointSlice, rename="camel", gc=False):
    metadata: _Metadata | None = None


class _Node(api.Node, gc=False):
    metadata: _Metadata | None = None


class _ServiceCIDR(api.ServiceCIDR, gc=False):
    metadata: _Metadata | None = None


class _Event(msgspec.Struct, Generic[T], gc=False):
    type: str
    object: T


class _Named(msgspec.Struct, gc=False):
    """As little as says which object it is."""

    metadata: _Metadata | None = None


class _Status(msgspec.Struct, gc=False):
    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


class _Details(msgspec.Struct, rename="camel", gc=False):
    causes: list[_Cause] | None = None
    retry_after_seconds: int | None = None


class _Cause(msgspec.Struct, gc=False):
    reason: str | None = None


class _ListMetadata(msgspec.Struct, rename={"version": "resourceVersion", "token": "continue"}):
    version: str | None = None
    token: str | None = None


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class Put(NamedTuple):
    """An object is there, in this version."""

    key: ObjectKey
    version: Version
    object: ModelObject | None
    """None: it means nothing to a proxy, or it is broken."""
    is_broken: bool = False
    """It is impossible: what it said before, in a valid version, still counts."""
    diagnostics: tuple[Diagnostic, ...] = ()
    triggered: float = 0.0
    """When that happened for which it was written, in seconds since 1970; 0: not said."""


class Gone(NamedTuple):
    """An object is there no more, or not among the selected ones."""

    key: ObjectKey
    version: Version


class Bookmark(NamedTuple):
    """All up to this version has been said."""

    version: Version
    ends_initial_events: bool = False


class Failure(NamedTuple):
    """The server cannot go on, or could not begin."""

    code: int
    message: str
    reason: str = ""
    is_too_new: bool = False
    """It was asked for a version that it has not reached."""
    retry_after_s: float = 0.0


class Unreadable(NamedTuple):
    """Nobody can tell which object this is about."""

    diagnostic: Diagnostic
    is_garbage: bool = False
    """It is no event at all, so what follows cannot be trusted either."""


Said = Put | Gone | Bookmark | Failure | Unreadable


class Page(NamedTuple):
    """A list, or a part of one, with its objects still encoded."""

    version: Version
    token: str
    """For the next page; empty: this is the last one."""
    items: list[msgspec.Raw]


def split_list(body: bytes) -> Page:
    """A list's objects, each to be decoded when there is time.

    Raises:
        SourceError: this is no list.
    """
    try:
        parsed = _LIST.decode(body)
    except _IMPOSSIBLE as error:
        problem = f"the API server's answer is no list: {one_line(str(error))}"
        raise SourceError(problem, hint=_NO_API_HINT) from None
    metadata = parsed.metadata
    version = version_of(metadata.version)
    return Page(version, metadata.token or "", parsed.items or [])


def read_failure(code: int, body: bytes) -> Failure:
    """What a server says about why it cannot, in an answer's body or an ERROR event.

    Args:
        code: The HTTP status; 0: only the Status object knows.
        body: A Status object, or whatever came instead.
    """
    try:
        status = _STATUS.decode(body)
    except _IMPOSSIBLE:
        return Failure(code, f"answered {code}" if code else "failed without a reason")
    details = status.details or _Details()
    message = one_line(status.message or f"answered {code}")
    causes = {cause.reason for cause in details.causes or ()}
    return Failure(
        code=code or status.code or 0,
        message=message,
        reason=status.reason or "",
        is_too_new="ResourceVersionTooLarge" in causes
        or message.startswith("Timeout: Too large resource version"),
        retry_after_s=float(max(details.retry_after_seconds or 0, 0)),
    )


def version_of(text: str | None) -> Version:
    """A number where it is one.

    Example:
        >>> version_of("12"), version_of("0x12"), version_of(None)
        (12, '0x12', '')
    """
    if text and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return int(text)
    return text or ""


def is_older(one: Version, other: Version) -> bool:
    """Whether one version came before another; False where nobody can tell.

    Example:
        >>> is_older(9, 10), is_older("9", "10"), is_older(10, 10)
        (True, False, False)
    """
    return isinstance(one, int) and isinstance(other, int) and one < other


class Decoder:
    """Reads what a server says about objects of one kind.

    Args:
        kind: Such as Service.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._is_namespaced = kind in ("Service", "EndpointSlice")
        self._is_triggered = kind == "EndpointSlice"
        self._object, self._event = _DECODERS[kind]

    def line(self, line: bytes) -> Said:
        """One line of a watch."""
        try:
            event = self._event.decode(line)
        except _IMPOSSIBLE:
            return self._strange_line(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                return self._put(event.object)
            case "DELETED":
                return self._gone(event.object.metadata)
            case "BOOKMARK":
                metadata = event.object.metadata or _Metadata()
                annotations = metadata.annotations or _NO_ANNOTATIONS
                is_end = annotations.ends_initial_events == "true"
                return Bookmark(version_of(metadata.resource_version), is_end)
            case _:
                return self._strange_line(line)

    def item(self, raw: bytes | msgspec.Raw) -> Put | Unreadable:
        """One object of a list."""
        try:
            typed = self._object.decode(raw)
        except _IMPOSSIBLE as error:
            return self._broken(raw, error)
        return self._put(typed)

    def _put(self, typed: Any) -> Put | Unreadable:
        metadata = typed.metadata
        if metadata is None or not metadata.name:
            return self._nameless()
        key = self._key(metadata)
        found = Findings(self._subject(key))
        objects = parse_typed(typed, self.kind, found)
        annotations = metadata.annotations
        triggered = annotations.trigger_time if annotations and self._is_triggered else None
        return Put(
            key,
            version_of(metadata.resource_version),
            objects[0] if objects else None,
            not objects and found.has_errors,
            tuple(found.diagnostics),
            _seconds(triggered) if triggered else 0.0,
        )

    def _gone(self, metadata: _Metadata | None) -> Gone | Unreadable:
        if metadata is None or not metadata.name:
            return self._nameless()
        return Gone(self._key(metadata), version_of(metadata.resource_version))

    def _strange_line(self, line: bytes) -> Said:
        """An error, an event of an unknown type, an object with a wrong type in it, or garbage."""
        try:
            event = _RAW_EVENT.decode(line)
        except _IMPOSSIBLE as error:
            odd = self._odd(f"a line is no watch event: {error}")
            return odd._replace(is_garbage=True)
        match event.type:
            case "ERROR":
                return read_failure(0, bytes(event.object))
            case "ADDED" | "MODIFIED":
                return self.item(event.object)
            case "DELETED" | "BOOKMARK":
                try:
                    metadata = _NAMED.decode(event.object).metadata
                except _IMPOSSIBLE as error:
                    return self._odd(f"an event of type {event.type} is broken: {error}")
                if event.type == "DELETED":
                    return self._gone(metadata)
                return Bookmark(version_of(metadata.resource_version if metadata else None))
            case _:
                return self._odd(f"an event of unknown type {shorten(event.type)} is skipped")

    def _broken(self, raw: bytes | msgspec.Raw, error: Exception) -> Put | Unreadable:
        try:
            metadata = _NAMED.decode(raw).metadata
        except _IMPOSSIBLE:
            metadata = None
        if metadata is None or not metadata.name:
            return self._nameless()
        key = self._key(metadata)
        found = Findings(self._subject(key))
        if isinstance(error, msgspec.ValidationError):
            found.error(*explain(error))
        else:
            found.error("", f"cannot be read: {one_line(str(error))}")
        version = version_of(metadata.resource_version)
        return Put(key, version, None, is_broken=True, diagnostics=tuple(found.diagnostics))

    def _nameless(self) -> Unreadable:
        return self._odd("is missing; every object has a name", "metadata.name")

    def _odd(self, problem: str, field: str = "") -> Unreadable:
        return Unreadable(Diagnostic(Severity.ERROR, self.kind, field, one_line(problem)))

    def _key(self, metadata: _Metadata) -> ObjectKey:
        namespace = metadata.namespace or "default" if self._is_namespaced else ""
        return (self.kind, namespace, metadata.name or "")

    def _subject(self, key: ObjectKey) -> str:
        kind, namespace, name = key
        return one_line(f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}")


def _seconds(text: str) -> float:
    """RFC 3339 → seconds since 1970; 0 for what is no time."""
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


_MOST_DIGITS = 20
"""Of a version that counts as a number: 64 bits."""
_NO_ANNOTATIONS = _Annotations()
_NO_API_HINT = "is this the address of a Kubernetes API server, or of something in front of it?"
_LIST = msgspec.json.Decoder(_List)
_STATUS = msgspec.json.Decoder(_Status)
_NAMED = msgspec.json.Decoder(_Named)
_RAW_EVENT = msgspec.json.Decoder(_Event[msgspec.Raw])
_DECODERS: dict[str, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]] = {
    "Service": (msgspec.json.Decoder(_Service), msgspec.json.Decoder(_Event[_Service])),
    "EndpointSlice": (
        msgspec.json.Decoder(_EndpointSlice),
        msgspec.json.Decoder(_Event[_EndpointSlice]),
    ),
    "Node": (msgspec.json.Decoder(_Node), msgspec.json.Decoder(_Event[_Node])),
    "ServiceCIDR": (
        msgspec.json.Decoder(_ServiceCIDR),
        msgspec.json.Decoder(_Event[_ServiceCIDR]),
    ),
}
"""For an object by itself, and for one in a watch event."""
