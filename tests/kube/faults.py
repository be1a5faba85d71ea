"""How the API server of the tests misbehaves."""

from __future__ import annotations

import enum
from typing import NamedTuple

import msgspec


class Ask(enum.Enum):
    """What somebody asks the server for."""

    LIST = "list"
    INITIAL = "streaming list"
    """A watch that begins with all that exists."""
    WATCH = "watch"
    GET = "get"
    WRITE = "write"


class Reply(NamedTuple):
    """An answer in place of the right one."""

    status: int
    body: bytes
    retry_after: str = ""
    content_type: str = "application/json"


class Cut(NamedTuple):
    """The right answer, but the connection is closed after so many bytes of its body."""

    after_bytes: int


class Silence(NamedTuple):
    """The right answer, but nothing more after so many bytes; the connection stays open."""

    after_bytes: int = 0


class Slow(NamedTuple):
    """The right answer, in pieces."""

    piece_bytes: int
    pause_s: float = 0.0


class Preface(NamedTuple):
    """The right answer, but behind these bytes."""

    data: bytes


Fault = Reply | Cut | Silence | Slow | Preface


def status(
    code: int, reason: str, message: str = "", *, retry_after: str = "", cause: str = ""
) -> Reply:
    """An error as Kubernetes tells it, with a Status object."""
    return Reply(code, status_object(code, reason, message, cause=cause), retry_after)


def status_object(code: int, reason: str, message: str = "", *, cause: str = "") -> bytes:
    """A Status of a failure, encoded."""
    details = {"details": {"causes": [{"reason": cause, "message": message}]}} if cause else {}
    return msgspec.json.encode(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message or f"as the test wants it: {reason}",
            "reason": reason,
            "code": code,
            **details,
        }
    )


NO_STREAMING_LISTS = status(
    422,
    "Invalid",
    'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is '
    "forbidden for watch unless the WatchList feature gate is enabled",
)
GARBAGE = Reply(200, b"\x1f\x8b\x00<html>no API here</html>\n")
EXPIRED = status(410, "Expired", "too old resource version: 1 (2)")
EXPIRED_EVENT = b'{"type":"ERROR","object":%s}\n' % EXPIRED.body
