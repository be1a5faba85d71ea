"""Tells systemd how we are: ready, reloading, stopping, alive. Without systemd, nothing is told.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping

from netproxy.log import EventLogger
from netproxy.observer import Observer
from netproxy.proxier import SyncReport

STUCK_S = 300.0
"""A sync that takes so long never ends. The largest known takes seconds."""

log = EventLogger(__name__)


class ServiceManager(Observer):
    """Watches the daemon as one of its observers, and passes on what systemd wants to know.

    Args:
        environ: Says whether somebody wants to know, and how often.
        clock: Seconds that never go backwards, as the kernel's monotonic clock has them.
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._period_s = _watchdog_s(environ)
        self._clock = clock
        self._is_ready = False
        self._working_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start_watchdog(self) -> None:
        """From now on say regularly that the loop turns; for as long as no sync is stuck."""
        if self._period_s is None or self._address is None:
            return
        since = self._working_since
        if since is None or self._clock() - since < STUCK_S:
            self._tell("WATCHDOG=1")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._period_s / 2, self.start_watchdog)

    def stop(self) -> None:
        """We are about to end."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell("STOPPING=1")

    def reloading(self) -> None:
        """Everything is read again; ``synced`` ends that."""
        self._is_ready = False
        microseconds = int(self._clock() * 1e6)
        self._tell("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def sync_started(self) -> None:
        """See :class:`netproxy.observer.Observer`."""
        self._working_since = self._clock()

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:  # noqa: ARG002 - an Observer
        """The rules are in place: whoever waits for Services may start."""
        self._working_since = None
        status = f"STATUS={report.services} services, {report.endpoints} endpoints"
        if not self._is_ready:
            self._is_ready = True
            self._tell("READY=1", status)
        elif report.changed:
            self._tell(status)

    def sync_failed(self) -> None:
        """See :class:`netproxy.observer.Observer`."""
        self._working_since = None
        self._tell("STATUS=the last sync failed; the log says why")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as there:
                there.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("service manager does not listen", error=str(error))


def _address(text: str) -> str | None:
    """Of the socket; ``@`` stands for the zero byte of the abstract name space."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear from this process; None: not at all."""
    period, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not period.isdigit() or int(period) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(period) / 1e6
