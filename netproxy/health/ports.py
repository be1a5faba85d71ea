"""Which health-check ports are open: follows the news that come after each sync.

Not here: HTTP (``server.py``, imported when the first port is opened), and what is answered
(``core/health.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netproxy.core.health import HealthNews, ServiceHealth
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey

if TYPE_CHECKING:
    from netproxy.health.server import HealthServer
    from netproxy.web.server import Visitors

_ALL = {Family.IPV4: IPAddress("0.0.0.0"), Family.IPV6: IPAddress("::")}  # noqa: S104 - as asked


class ListenTrouble(NamedTuple):
    """A port on which load balancers ask in vain."""

    service: ServiceKey
    port: int
    address: IPAddress
    error: str
    """The kernel's words; empty: it works now."""
    hint: str = ""


class _Place(NamedTuple):
    family: Family
    service: ServiceKey


class HealthPorts:
    """All health-check ports of this node.

    Args:
        is_proxy_healthy: Whether rules keep up with objects; asked at each request.
        tell: Called when listening fails, once for as long as it fails in the same way, and when
            it works at last.
    """

    def __init__(
        self, is_proxy_healthy: Callable[[], bool], tell: Callable[[ListenTrouble], None]
    ) -> None:
        self._is_proxy_healthy = is_proxy_healthy
        self._tell = tell
        self._addresses: dict[Family, tuple[IPAddress, ...]] = {}
        self._servers: dict[_Place, HealthServer] = {}
        self._troubles: dict[_Place, dict[IPAddress, ListenTrouble]] = {}
        """Tried again with all news."""
        self._visitors: Visitors | None = None

    def update(self, news: HealthNews) -> None:
        """Open, close and answer as the news say; try again what failed before."""
        family = news.family
        addresses = news.addresses or (_ALL[family],)
        have_moved = addresses != self._addresses.get(family, addresses)
        self._addresses[family] = addresses
        to_open = {_Place(family, key) for key in self._put_services(news)}
        if have_moved:
            to_open |= {place for place in self._servers if place.family is family}
            # A port is free on a new address only after it was given back on the old ones.
            for place in to_open:
                self._servers[place].listen([])
        to_open |= {place for place in self._troubles if place.family is family}
        for place in sorted(to_open, key=lambda place: place.service):
            self._note(place, self._servers[place].listen(addresses))

    def close(self) -> None:
        """Give all ports back."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._troubles.clear()

    def _put_services(self, news: HealthNews) -> list[ServiceKey]:
        """Take in what is to be answered; returns the Services whose ports are to be opened.

        Everything is closed before anything is opened: a port may go from one to another.
        """
        new = []
        changes: dict[ServiceKey, ServiceHealth | None] = {}
        if news.is_whole:
            changes |= {p.service: None for p in self._servers if p.family is news.family}
        changes |= news.services
        for key, health in changes.items():
            place = _Place(news.family, key)
            server = self._servers.get(place)
            if server is not None and health is not None and server.health.port == health.port:
                server.health = health
                continue
            if server is not None:
                server.close()
                del self._servers[place]
                self._troubles.pop(place, None)
            if health is not None:
                new.append(health)
        for health in new:
            self._servers[_Place(news.family, health.service)] = self._make_server(health)
        return [health.service for health in new]

    def _make_server(self, health: ServiceHealth) -> HealthServer:
        from netproxy.health.server import HealthServer
        from netproxy.web.server import Visitors

        if self._visitors is None:
            self._visitors = Visitors()
        return HealthServer(health, self._is_proxy_healthy, self._visitors)

    def _note(self, place: _Place, failures: dict[IPAddress, OSError]) -> None:
        before = self._troubles.pop(place, {})
        now = {}
        for address, error in failures.items():
            words = os.strerror(error.errno) if error.errno else str(error)
            known = before.get(address)
            if known is None or known.error != words:
                known = self._explain(place, address, words)
                self._tell(known)
            now[address] = known
        if now:
            self._troubles[place] = now
        for address, trouble in before.items():
            if address not in now and address in self._addresses[place.family]:
                self._tell(trouble._replace(error="", hint=""))

    def _explain(self, place: _Place, address: IPAddress, words: str) -> ListenTrouble:
        port = self._servers[place].health.port
        rivals = [
            other.service
            for other, server in self._servers.items()
            if other.family is place.family and other != place and server.health.port == port
        ]
        hint = (
            f"Service {rivals[0]} has the same healthCheckNodePort; give one of them another"
            if rivals
            else "until it works, load balancers take this node for one without endpoints"
        )
        return ListenTrouble(place.service, port, address, words, hint)
