"""Notices when an upstream leads back to ourselves: directly, through rules, or other servers.

Each upstream is asked for a name that only we can have made up. If we are asked for it in turn,
we are our own upstream, and it is not asked any more. Such a circle does no harm meanwhile: a
question that comes back waits for itself, and is answered when nobody could tell.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from netproxy.dns.exchange import exchange
from netproxy.dns.names import join, labels_of, name_of
from netproxy.dns.records import RecordType
from netproxy.dns.upstreams import Upstream
from netproxy.dns.wire import IN
from netproxy.log import EventLogger

LOOK_S: Final = 1.0
"""Between looks at whom to ask about."""
AGAIN_S: Final = 30.0
"""Between questions to an upstream that failed, or that was ourselves."""
ZONE: Final = name_of("loop.netproxy.invalid")
_SUFFIX = (RecordType.TXT.to_bytes(2, "big")) + IN.to_bytes(2, "big")

log = EventLogger(__name__)


class LoopWatch:
    """Knows which upstreams lead back to us.

    Args:
        upstreams: Those in use; looked at again and again.
    """

    def __init__(self, upstreams: Callable[[], Sequence[Upstream]]) -> None:
        self._upstreams = upstreams
        self._made_up: dict[bytes, Upstream] = {}
        """Labels of names that were asked for."""
        self._returned: set[bytes] = set()
        """Those of them that we were asked for."""
        self._asked_at: dict[Upstream, float] = {}
        self._suspects: set[Upstream] = set()
        self._circles: set[Upstream] = set()

    def has(self, upstream: Upstream) -> bool:
        """Whether it leads back to us."""
        return upstream in self._circles

    def suspect(self, upstream: Upstream) -> None:
        """It did not answer, as it would not if it were ourselves."""
        self._suspects.add(upstream)

    def is_ours(self, name: bytes) -> bool:
        """Whether it is a name that we made up, and which thus has come back."""
        if not name.endswith(ZONE):
            return False
        label = labels_of(name)[0]
        upstream = self._made_up.get(label)
        if upstream is None:
            return True
        self._returned.add(label)
        if upstream not in self._circles:
            self._circles.add(upstream)
            log.error(
                "upstream is ourselves",
                upstream=str(upstream),
                hint="name other servers with --dns-upstream, or in resolv.conf",
            )
        return True

    async def run(self) -> None:
        """Ask until cancelled: each upstream once, and those that failed now and then."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            current = set(self._upstreams())
            self._circles &= current
            for upstream in current:
                asked_at = self._asked_at.get(upstream)
                is_due = asked_at is None or now - asked_at >= AGAIN_S
                is_in_doubt = upstream in self._suspects or upstream in self._circles
                if asked_at is None or (is_due and is_in_doubt):
                    self._asked_at[upstream] = now
                    self._suspects.discard(upstream)
                    await self._ask(upstream)
            await asyncio.sleep(LOOK_S)

    async def _ask(self, upstream: Upstream) -> None:
        label = secrets.token_hex(16).encode("ascii")
        self._made_up[label] = upstream
        # Who does not answer is not us, or cannot be reached.
        with suppress(OSError):
            await exchange(upstream, join([label], ZONE) + _SUFFIX)
        del self._made_up[label]
        if label in self._returned:
            self._returned.discard(label)
        elif upstream in self._circles:
            self._circles.discard(upstream)
            log.info("upstream is somebody else now", upstream=str(upstream))
