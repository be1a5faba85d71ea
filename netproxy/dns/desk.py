"""Where questions come in: who may ask, and that no question, however odd, ends in an error."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netproxy.dns.records import Rcode
from netproxy.dns.responder import Foreign, Reply, Responder, refusal
from netproxy.dns.tally import Source, Tally, kind_of
from netproxy.dns.wire import HEADER, bare_answer
from netproxy.log import EventLogger
from netproxy.model.ip import Prefix, parse_address

if TYPE_CHECKING:
    from netproxy.dns.forward import Forwarder

_MOST_REMEMBERED = 4096

log = EventLogger(__name__)


class Desk:
    """Hears questions and has them answered.

    Args:
        responder: Knows what is ours.
        forwarder: Knows what is not.
        clients: Who may ask.
        tally: Counts.
    """

    def __init__(
        self, responder: Responder, forwarder: Forwarder, clients: Sequence[Prefix], tally: Tally
    ) -> None:
        self.known = responder.known
        """Answers by question, for who would rather look himself."""
        self.allowed: dict[str, bool] = {}
        """Who may ask, of those that have."""
        self.random = responder.random
        self.tally = tally
        self._responder = responder
        self._forwarder = forwarder
        self._clients = clients

    def may_ask(self, host: str) -> bool:
        """Whether somebody at that address is answered."""
        known = self.allowed.get(host)
        if known is None:
            if len(self.allowed) >= _MOST_REMEMBERED:
                self.allowed.clear()
            address = parse_address(host.partition("%")[0])
            known = any(each.contains(address) for each in self._clients)
            self.allowed[host] = known
        return known

    def turn_away(self, message: bytes) -> Reply | None:
        """What somebody hears who may not ask: less than he said, so that it is no weapon."""
        if len(message) < HEADER or message[2] & 0x80:
            return None
        kind = kind_of(None, Rcode.REFUSED, Source.NOBODY)
        return Reply(bare_answer(message, Rcode.REFUSED), kind)

    def answer(self, message: bytes, *, is_stream: bool) -> Reply | Foreign | None:
        """The answer; a ``Foreign`` takes time; None: there is none. Raises nothing."""
        try:
            found = self._responder.respond(message, is_stream=is_stream)
            if not isinstance(found, Foreign):
                return found
            return self._forwarder.at_once(found) or found
        except Exception as error:  # noqa: BLE001 - who asks next must be answered
            self._crashed(error)
            kind = kind_of(None, Rcode.SERVFAIL, Source.NOBODY)
            return Reply(bare_answer(message, Rcode.SERVFAIL), kind)

    async def ask(self, foreign: Foreign) -> Reply:
        """The answer that others give. Raises nothing."""
        try:
            return await self._forwarder.ask(foreign)
        except Exception as error:  # noqa: BLE001 - who asks next must be answered
            self._crashed(error)
            return refusal(foreign.query, Rcode.SERVFAIL)

    def _crashed(self, error: Exception) -> None:
        self.tally.crashes += 1
        words = f"{type(error).__name__}: {error}"
        log.error("question crashed", error=words, hint="this is a bug in netproxy")
        log.debug("question crashed", traceback="".join(traceback.format_exception(error)))
