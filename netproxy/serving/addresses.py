"""One server at one address, which may be taken for a while, and may change."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from netproxy.errors import UnsupportedError
from netproxy.log import EventLogger
from netproxy.model.ip import IPAddress
from netproxy.web import Handler, Place

if TYPE_CHECKING:
    from netproxy.web.server import Server

RETRY_S = 5.0
"""Between attempts to listen. Source: kube-proxy 1.36."""
_EVERYWHERE = (IPAddress("0.0.0.0"), IPAddress("::"))  # noqa: S104 - as asked
_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_HINTS = {
    errno.EADDRINUSE: "another program listens there, maybe kube-proxy: stop it, or choose another"
    " address or port with {flag}",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: choose another with {flag}",
    errno.EADDRNOTAVAIL: "this host does not have that address: choose another with {flag}",
}

log = EventLogger(__name__)


ServerName = Literal["health", "metrics"]


class ServeTrouble(NamedTuple):
    """An address at which nobody is answered."""

    server: ServerName
    address: str
    error: str
    """The kernel's words; empty: it works now."""
    hint: str = ""


class Stand:
    """Where one server stands. Until an address is free it is tried again and again.

    Args:
        name: Which one it is.
        flag: By which an operator chooses the address.
        handle: Answers.
        most: Open connections at a time.
        report: Hears when listening fails, once for as long as it fails in the same way, and when
            it works at last.
    """

    def __init__(
        self,
        name: ServerName,
        flag: str,
        handle: Handler,
        *,
        most: int,
        report: Callable[[ServeTrouble], None],
    ) -> None:
        self._name = name
        self._flag = flag
        self._handle = handle
        self._most = most
        self._server: Server | None = None
        self._report = report
        self.wanted: Place | None = None
        """Where to answer; maybe it does not work yet."""
        self._trouble: ServeTrouble | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int | None:
        """The port that is listened on; None: none is."""
        ports = self._server.ports if self._server is not None else {}
        return next(iter(ports.values()), None)

    def move(self, wanted: Place | None, *, hard_fail: bool = False) -> None:
        """Answer there, and there only; None: nowhere.

        Args:
            wanted: ``0.0.0.0`` and ``::`` both mean every address of both families, as in Go.
            hard_fail: An address that cannot be used is an error; otherwise it is tried again.

        Raises:
            UnsupportedError: the address cannot be used; what was in use before still is.
        """
        if wanted == self.wanted:
            return
        before, self.wanted = self.wanted, wanted
        self._forget_trouble()
        failure = self._listen()
        if failure is not None and not hard_fail:
            self._note(failure)
        elif failure is not None:
            self.move(before)
            raise UnsupportedError(
                f"cannot answer {self._name} requests at {wanted}: {failure.error}",
                hint=failure.hint,
            )

    def close(self) -> None:
        """Answer nobody any more."""
        self._forget_trouble()
        if self._server is not None:
            self._server.close()

    def _forget_trouble(self) -> None:
        self._trouble = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _listen(self) -> ServeTrouble | None:
        """Try once; returns what went wrong."""
        if self.wanted is None:
            if self._server is not None:
                self._server.listen([])
            return None
        server = self._server = self._server or self._make_server()
        number = 0
        for place in _places(self.wanted):
            failures = server.listen([place])
            if not failures:
                log.info("listening", server=self._name, address=str(self.wanted), port=self.port)
                return None
            number = failures[place].errno or 0
            if number not in _NO_SUCH_FAMILY:
                break
        hint = _HINTS.get(number, "choose another address with {flag}").format(flag=self._flag)
        return ServeTrouble(self._name, str(self.wanted), os.strerror(number), hint)

    def _make_server(self) -> Server:
        from netproxy.web.server import Server, Visitors

        # Its own visitors: strangers may ask about health, and must not keep out who scrapes.
        return Server(self._handle, Visitors(self._most))

    def _note(self, failure: ServeTrouble) -> None:
        if failure != self._trouble:
            self._trouble = failure
            log.error(
                "cannot listen",
                server=failure.server,
                address=failure.address,
                error=failure.error,
                hint=failure.hint,
            )
            self._report(failure)
        self._timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        failure = self._listen()
        if failure is not None:
            self._note(failure)
        elif self._trouble is not None:
            self._report(self._trouble._replace(error="", hint=""))
            self._forget_trouble()


def _places(wanted: Place) -> list[Place]:
    """What to try, in this order."""
    if wanted.host not in _EVERYWHERE:
        return [wanted]
    # A kernel without IPv6 has but the one.
    both = Place(IPAddress("::"), wanted.port, is_dual=True)
    return [both, Place(IPAddress("0.0.0.0"), wanted.port)]  # noqa: S104 - as asked
