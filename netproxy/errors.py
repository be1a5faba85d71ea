"""Every exception that netproxy raises on purpose.

Rule 1: a class exists only where some caller decides differently because of it.
Rule 2: an error builds its own message from keyword fields, and says in ``hint`` what to do.
Rule 3: foreign exceptions are wrapped at the edge that owns the library, ``raise ... from error``.

Bad *data* is not an exception: see :class:`netproxy.model.diagnostic.Diagnostic`.
"""

from __future__ import annotations

import errno as errno_names
import os

EXIT_OK = 0
EXIT_DIFFERENT = 1
"""``diff`` found something to change (as diff(1) does)."""
EXIT_BAD_INPUT = 2
"""A flag, a setting or a manifest is wrong; also click's code for wrong usage."""
EXIT_SOURCE = 3
EXIT_UNSUPPORTED = 4
"""This host or this user cannot do it: no root, no nf_tables, ..."""
EXIT_KERNEL = 5
"""The kernel refused a change that should have worked."""
EXIT_BUG = 70
"""An invariant of ours is broken (sysexits.h: EX_SOFTWARE)."""


class NetproxyError(Exception):
    """Base of all errors raised on purpose; only the CLI turns one into an exit code."""

    exit_code = EXIT_BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(NetproxyError):
    """The operator asked for something impossible. Never retried."""

    exit_code = EXIT_BAD_INPUT

    def __init__(self, *, setting: str, problem: str, hint: str | None = None) -> None:
        super().__init__(f"{setting}: {problem}", hint=hint)
        self.setting = setting


class ManifestError(NetproxyError):
    """A manifest as a whole cannot be read; a single bad object is a ``Diagnostic`` instead."""

    exit_code = EXIT_BAD_INPUT

    def __init__(
        self, *, path: str, problem: str, line: int | None = None, hint: str | None = None
    ) -> None:
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {problem}", hint=hint)
        self.path = path
        self.line = line


class SourceError(NetproxyError):
    """A source of objects cannot go on. Retried with backoff; the last good rules stay."""

    exit_code = EXIT_SOURCE


class UnsupportedError(NetproxyError):
    """This host or this user can never do it as things are. Not retried."""

    exit_code = EXIT_UNSUPPORTED


class DataplaneError(NetproxyError):
    """The kernel refused. The next sync reads the kernel first and compares everything.

    Args:
        operation: What was tried, in words: ``"add element"``.
        subject: The object it was tried on: ``"map ip netproxy endpoints"``.
        errno: The kernel's error number, positive.
        detail: The kernel's extended acknowledgement text, if it sent one.
    """

    exit_code = EXIT_KERNEL

    def __init__(
        self,
        *,
        operation: str,
        subject: str,
        errno: int,
        detail: str = "",
        hint: str | None = None,
    ) -> None:
        name = errno_names.errorcode.get(errno, str(errno))
        reason = detail or os.strerror(errno)
        super().__init__(f"cannot {operation} {subject}: {reason} ({name})", hint=hint)
        self.operation = operation
        self.subject = subject
        self.errno = errno


class BugError(NetproxyError):
    """One of our own invariants is broken. Not caught below the outermost loop."""
