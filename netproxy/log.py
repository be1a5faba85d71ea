"""Logs are events with fields, not sentences: ``event="sync done" full=true services=812``.

The event says what happened in a few constant words; everything that varies is a field. Field
names are shared by the whole program: ``service``, ``family``, ``source``, ``operation``,
``object``, ``errno``, ``full``, ``services``, ``endpoints``, ``operations``, ``elapsed_ms``,
``error``, ``hint``, ``path``, ``line``, ``field``.

Source: the levels stand for kube-proxy's ``-v``: ERROR 0, WARNING 1, INFO 2, DEBUG 4, TRACE 9.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

TRACE = 5
"""Below DEBUG: whole transactions as text."""

_LEVEL_WORDS = {
    TRACE: "trace",
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warning",
    logging.ERROR: "error",
}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,+@%[]*~")


class EventLogger:
    """One module's logger; each method takes an event and its fields."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def trace(self, event: str, **fields: object) -> None:
        """The transaction as text."""
        self._log(TRACE, event, fields)

    def debug(self, event: str, **fields: object) -> None:
        """One line per changed object."""
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """The life cycle, and one line per sync that changed something."""
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is skipped or degraded, and named."""
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """An operator must act; there is a hint."""
        self._log(logging.ERROR, event, fields)

    def is_tracing(self) -> bool:
        """Whether it is worth making the text of a transaction."""
        return self._logger.isEnabledFor(TRACE)

    def _log(self, level: int, event: str, fields: dict[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields})


class TextFormatter(logging.Formatter):
    """``key=value`` pairs, one line per event whatever the values contain."""

    def format(self, record: logging.LogRecord) -> str:
        parts = {"time": _timestamp(record), "level": _level(record), "event": record.getMessage()}
        return " ".join(f"{k}={_text(v)}" for k, v in (parts | _fields(record)).items())


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        parts = {"time": _timestamp(record), "level": _level(record), "event": record.getMessage()}
        return json.dumps(parts | _fields(record), default=str, ensure_ascii=False)


def configure(*, is_json: bool, verbosity: int | None, stream: TextIO | None = None) -> None:
    """Send netproxy's events to a stream, stderr by default. May be called again.

    Args:
        is_json: JSON lines rather than ``key=value``.
        verbosity: kube-proxy's ``-v``; None: INFO.
        stream: Where to.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter())
    root = logging.getLogger("netproxy")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(level_of(verbosity))
    logging.addLevelName(TRACE, "TRACE")
    logging.raiseExceptions = False  # a closed stderr must not take the daemon down


def level_of(verbosity: int | None) -> int:
    """The level for kube-proxy's ``-v``.

    Example:
        >>> [level_of(v) for v in (None, 0, 2, 4, 9)] == [20, 30, 20, 10, TRACE]
        True
    """
    if verbosity is None:
        return logging.INFO
    if verbosity < 2:
        return logging.WARNING
    if verbosity < 4:
        return logging.INFO
    return logging.DEBUG if verbosity < 9 else TRACE


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _level(record: logging.LogRecord) -> str:
    return _LEVEL_WORDS.get(record.levelno, record.levelname.lower())


def _timestamp(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.1f}"
        case str() if value and _PLAIN.issuperset(value):
            return value
        case str():
            return json.dumps(value, ensure_ascii=not value.isprintable())
        case _:
            return _text(str(value))
