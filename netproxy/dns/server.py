"""Stands at sockets and answers questions about a zone, and through others about everything."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

from netproxy.dns.cache import Cache
from netproxy.dns.datagrams import Datagrams, open_datagrams
from netproxy.dns.desk import Desk
from netproxy.dns.records import Rcode
from netproxy.dns.responder import Responder
from netproxy.dns.settings import DnsSettings
from netproxy.dns.streams import Connections, Listener, open_listener
from netproxy.dns.tally import Tally
from netproxy.dns.upstreams import ResolvConf, Upstream
from netproxy.errors import UnsupportedError
from netproxy.log import EventLogger
from netproxy.web import Place

_HINTS = {
    errno.EADDRINUSE: "another program answers there, maybe dnsmasq or systemd-resolved: stop it,"
    " or choose another address or port",
    errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE: choose another",
    errno.EADDRNOTAVAIL: "this host does not have that address: choose another",
}
_ATTEMPTS = 16
"""To find a port that is free for UDP and TCP both, where any will do."""

log = EventLogger(__name__)


class DnsServer:
    """Answers at the addresses of its settings, from ``open`` to ``close``.

    Args:
        responder: Knows what is ours; may learn more while the server is open.
        settings: See there.
        tally: Counts.
        now: Seconds.
    """

    def __init__(
        self,
        responder: Responder,
        settings: DnsSettings,
        *,
        tally: Tally | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tally = tally or Tally()
        self.places: tuple[Place, ...] = ()
        """Where questions are heard; with the ports that were found where any would do."""
        self.cache = Cache(settings.cache_entries, settings.cache_bytes, self.tally)
        """What upstreams have answered."""
        self._responder = responder
        self._settings = settings
        self._now = now
        self._connections = Connections()
        self._open: list[Datagrams | Listener] = []
        self._watch: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Hear questions, everywhere or nowhere.

        Raises:
            UnsupportedError: an address cannot be used.
        """
        # dnspython takes 0.06 s to import; whoever serves no names does without.
        from netproxy.dns.forward import Forwarder

        settings = self._settings
        forwarder = Forwarder(
            self._upstreams(),
            self.cache,
            ttl_s=settings.zone.ttl_s,
            tally=self.tally,
            now=self._now,
            random=random.random,
            alone=Rcode.NXDOMAIN if settings.upstreams == () else Rcode.REFUSED,
        )
        desk = Desk(self._responder, forwarder, settings.clients, self.tally)
        try:
            self.places = tuple([self._stand_at(place, desk) for place in settings.places])
        except UnsupportedError:
            await self.close()
            raise
        self._watch = asyncio.create_task(forwarder.run())
        log.info("listening", server="dns", address=",".join(map(str, self.places)))

    async def close(self) -> None:
        """Hear nobody any more."""
        for each in self._open:
            each.close()
        self._open.clear()
        self._connections.close()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    def _upstreams(self) -> Callable[[], Sequence[Upstream]]:
        upstreams = self._settings.upstreams
        if upstreams is None:
            return ResolvConf(self._settings.resolv_conf, self._now)
        return lambda: upstreams

    def _stand_at(self, place: Place, desk: Desk) -> Place:
        """Open both sockets; returns the place with its port."""
        family = 6 if ":" in place.host else 4
        for attempt in count(1):
            try:
                datagrams = open_datagrams(place)
                port = datagrams.getsockname()[1]
                try:
                    listener = open_listener(place._replace(port=port))
                except OSError:
                    datagrams.close()
                    raise
            except OSError as error:
                if place.port == 0 and error.errno == errno.EADDRINUSE and attempt < _ATTEMPTS:
                    continue
                number = error.errno or 0
                raise UnsupportedError(
                    f"cannot answer DNS at {place}: {os.strerror(number)}",
                    hint=_HINTS.get(number, "choose another address"),
                ) from error
            break
        transports = self.tally.transports
        self._open.append(Datagrams(datagrams, desk, transports["udp", family]))
        self._open.append(Listener(listener, desk, transports["tcp", family], self._connections))
        return place._replace(port=port)
