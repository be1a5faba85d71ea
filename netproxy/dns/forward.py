"""Finds out what others know: asks upstreams, remembers, and asks each thing once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from netproxy.dns.cache import Cache, Cached, Heard
from netproxy.dns.exchange import exchange
from netproxy.dns.loops import LoopWatch
from netproxy.dns.messages import Useless, join_answers, read_answer
from netproxy.dns.packing import Packed
from netproxy.dns.records import Rcode
from netproxy.dns.responder import Foreign, Reply, refusal
from netproxy.dns.tally import Source, Tally, UpstreamTally, kind_of
from netproxy.dns.upstreams import Upstream
from netproxy.log import EventLogger

MOST_EXCHANGES: Final = 512
"""Questions that are on their way to upstreams; each has a socket."""
MOST_WAITING: Final = 4096
"""Clients that wait for them."""
ATTEMPTS: Final = 2
"""Servers that are asked, or how often a single one is: clients give up after five seconds."""
FAILED_S: Final = 10.0
"""For which a server that did not answer is asked after the others."""
FAILURE_S: Final = 1
"""For which it is remembered that nobody could tell (RFC 9520, 3.2)."""
_OLD_FASHIONED = frozenset({"FORMERR", "NOTIMP", "BADVERS"})
"""What servers say that do not know EDNS."""

log = EventLogger(__name__)


class Forwarder:
    """Answers what is not ours.

    Args:
        upstreams: Whom to ask, in this order; looked at for each question.
        cache: Where answers are kept.
        ttl_s: Of our own records, which may stand before those of others.
        tally: Counts.
        now: Seconds.
        random: From 0 up to 1; chooses which of several addresses comes first.
        alone: What is answered while there is nobody to ask.
    """

    def __init__(
        self,
        upstreams: Callable[[], Sequence[Upstream]],
        cache: Cache,
        *,
        ttl_s: int,
        tally: Tally,
        now: Callable[[], float],
        random: Callable[[], float],
        alone: Rcode = Rcode.REFUSED,
    ) -> None:
        self._upstreams = upstreams
        self._cache = cache
        self._ttl_s = ttl_s
        self._tally = tally
        self._now = now
        self._random = random
        self._alone = alone
        self._running: dict[bytes, asyncio.Task[Cached]] = {}
        self._waiting = 0
        self._failed_at: dict[Upstream, float] = {}
        self._loops = LoopWatch(upstreams)

    async def run(self) -> None:
        """Look after the upstreams until cancelled."""
        try:
            await self._loops.run()
        finally:
            for task in self._running.values():
                task.cancel()

    def at_once(self, foreign: Foreign) -> Reply | None:
        """The answer, if nobody has to be asked."""
        if self._loops.is_ours(foreign.target):
            return refusal(foreign.query, Rcode.REFUSED)
        known = self._cache.get(_question(foreign), self._now())
        return None if known is None else self._reply(foreign, known, Source.CACHE)

    async def ask(self, foreign: Foreign) -> Reply:
        """The answer, after asking others; who asks the same meanwhile waits for the same."""
        question = _question(foreign)
        task = self._running.get(question)
        if self._waiting >= MOST_WAITING or (task is None and len(self._running) >= MOST_EXCHANGES):
            self._tally.too_many += 1
            return refusal(foreign.query, Rcode.REFUSED)
        if task is None:
            task = asyncio.create_task(self._learn(question))
            self._running[question] = task
            task.add_done_callback(lambda _: self._running.pop(question, None))
        self._waiting += 1
        try:
            known = await asyncio.shield(task)
        finally:
            self._waiting -= 1
        return self._reply(foreign, known, Source.FORWARD)

    def _reply(self, foreign: Foreign, known: Cached, source: Source) -> Reply:
        query, heard = foreign.query, known.heard
        age_s = int(self._now() - known.since)
        if foreign.before and heard.packed.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
            question = query.name + query.question[-4:]
            asked = _question(foreign)
            heard = join_answers(
                question, foreign.before, self._ttl_s, asked=asked, heard=heard, age_s=age_s
            )
            age_s = 0
        packed = heard.packed
        rest = heard.rest(age_s)
        if packed.turns:
            rest = packed.turned(rest, int(self._random() * packed.turns))
        kind = kind_of(query.type, packed.rcode, source)
        return Reply(packed.reply(query, rest, query.limit), kind)

    async def _learn(self, question: bytes) -> Cached:
        upstreams = self._in_order()
        rcode = Rcode.SERVFAIL if self._upstreams() else self._alone
        for number in range(ATTEMPTS if upstreams else 0):
            heard = await self._heard_from(upstreams[number % len(upstreams)], question)
            if heard is not None:
                return self._cache.put(question, heard, self._now())
        nothing = Heard(Packed(rcode, is_authoritative=False), (), FAILURE_S, "denial")
        return self._cache.put(question, nothing, self._now())

    def _in_order(self) -> list[Upstream]:
        """Whom to ask; who failed of late comes last."""
        recently = self._now() - FAILED_S
        usable = [each for each in self._upstreams() if not self._loops.has(each)]
        return sorted(usable, key=lambda each: self._failed_at.get(each, recently) > recently)

    async def _heard_from(self, upstream: Upstream, question: bytes) -> Heard | None:
        tally = self._tally.upstreams.setdefault(str(upstream), UpstreamTally())
        for has_edns in (True, False):
            started = self._now()
            try:
                message = await exchange(upstream, question, has_edns=has_edns)
                heard = read_answer(message, question)
            except Useless as error:
                tally.answered(error.rcode, self._now() - started)
                if has_edns and error.rcode in _OLD_FASHIONED:
                    continue
                log.debug("upstream failed", upstream=str(upstream), error=error.rcode)
                return None
            except OSError as error:  # TimeoutError is one
                tally.answered("", self._now() - started)
                self._failed(upstream, error)
                return None
            tally.answered(heard.packed.rcode.name, self._now() - started)
            self._failed_at.pop(upstream, None)
            return heard
        return None

    def _failed(self, upstream: Upstream, error: OSError) -> None:
        if upstream not in self._failed_at:
            words = str(error) or "no answer"
            log.warning("upstream does not answer", upstream=str(upstream), error=words)
        self._failed_at[upstream] = self._now()
        self._loops.suspect(upstream)


def _question(foreign: Foreign) -> bytes:
    """What others are asked: the target, with the query's type and class."""
    return foreign.target + foreign.query.question[-4:]
