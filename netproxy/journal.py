"""What the daemon says in its log: one line per sync that changed something, troubles once.

Rule: a failure repeats until somebody does something, so it is said once per distinct message, and
then only at debug level.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable

from netproxy.errors import NetproxyError
from netproxy.log import EventLogger
from netproxy.model.diagnostic import Diagnostic
from netproxy.proxier import SyncReport

_MOST_REMEMBERED = 10_000
"""Diagnostics that were logged; more are forgotten, and logged again should they come again."""

log = EventLogger("netproxy.daemon")


class Journal:
    """Remembers what was said, to say it once."""

    def __init__(self) -> None:
        self._said: set[Diagnostic] = set()
        self._has_synced = False
        self._last_error = ""
        self._last_settle_error = ""
        self._last_flow_error = ""

    def synced(self, report: SyncReport, *, is_repair: bool, failures: int) -> None:
        """A sync has worked.

        Args:
            report: What it did.
            is_repair: Another program had changed our rules.
            failures: How many syncs failed before it.
        """
        if self._last_error:
            log.info("sync works again", failures=failures)
            self._last_error = ""
        self.found(report.diagnostics)
        self._say_flow_trouble(report)
        if is_repair and report.changed:
            log.warning("another program changed our tables, repaired")
        is_news = report.changed or report.forgotten_flows or not self._has_synced
        say = log.info if is_news else log.debug
        self._has_synced = True
        say(
            "sync done",
            full=report.full,
            services=report.services,
            endpoints=report.endpoints,
            operations=sum(each.operations for each in report.families),
            forgotten_flows=report.forgotten_flows,
            compile_ms=report.compile_ms,
            kernel_ms=report.kernel_ms,
        )

    def _say_flow_trouble(self, report: SyncReport) -> None:
        trouble = report.flow_trouble
        if trouble is not None:
            say = log.debug if trouble.message == self._last_flow_error else log.warning
            say("stale connections stay", error=trouble.message, hint=trouble.hint)
        self._last_flow_error = trouble.message if trouble else ""

    def failed(self, error: NetproxyError) -> None:
        """A sync has failed."""
        say = log.debug if error.message == self._last_error else log.error
        self._last_error = error.message
        say("sync failed", error=error.message, hint=error.hint)

    def cannot_settle(self, error: NetproxyError) -> None:
        """The rules are in place; what had to wait for that has failed."""
        say = log.debug if error.message == self._last_settle_error else log.warning
        self._last_settle_error = error.message
        say("cannot settle down", error=error.message, hint=error.hint)

    def found(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Objects are not right."""
        for diagnostic in diagnostics:
            if diagnostic in self._said:
                continue
            if len(self._said) >= _MOST_REMEMBERED:
                self._said.clear()
            self._said.add(diagnostic)
            log.warning(
                "object not right",
                severity=diagnostic.severity.value,
                object=diagnostic.subject,
                field=diagnostic.field,
                error=diagnostic.message,
                path=diagnostic.path,
                line=diagnostic.line or None,
            )


def log_crash(event: str, error: Exception) -> None:
    """A bug of ours: one line for the operator, where it happened for whoever looks closer."""
    log.error(event, error=f"{type(error).__name__}: {error}", hint="this is a bug in netproxy")
    log.debug(event, traceback="".join(traceback.format_exception(error)))
