"""Writes events to the API server, for people who ask ``kubectl describe`` and ``get events``.

Whoever records an event never waits, and never hears of failure: that is this module's own affair.

Source: kube-proxy's events; client-go's recorder of events.k8s.io/v1 events.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from netproxy.errors import SourceError
from netproxy.kubernetes.contract import ApiClient
from netproxy.kubernetes.event_series import (
    EventKey,
    EventSeries,
    EventType,
    Happening,
    Regarding,
)
from netproxy.log import EventLogger

log = EventLogger(__name__)

CONTROLLER = "kube-proxy"
"""Who reports: dashboards and alerts look for this name."""
MOST_EVENTS = 128
"""Different events that are remembered or wait; what is more is dropped."""
MOST_TRIES = 12
"""For one event."""
LONGEST_DELAY_S = 60.0
"""Between two tries; the first waits for up to a second, each further one twice as long."""
_LONGEST_ANSWER = 1 << 20
_HINT_RIGHTS = "the ClusterRole must allow create and patch of events in events.k8s.io"


class _Fate(Enum):
    """What became of a try."""

    WRITTEN = auto()
    REFUSED = auto()
    DELAYED = auto()
    """It may work later."""


class _Outcome(NamedTuple):
    fate: _Fate
    problem: str = ""
    hint: str | None = None
    retry_after_s: float = 0.0


class _Reply(NamedTuple):
    status: int
    message: str
    retry_after_s: float


class _Status(msgspec.Struct):
    """What an API server answers when it does not do what it was asked to."""

    message: str = ""


class EventRecorder:
    """Takes events at any time; writes them while ``run`` is running.

    Args:
        client: Where to write to. One of its own, so that events do not delay what matters more.
        now: Seconds since 1970.
        node_name: This node; it is part of the reporter's name.
        dice: A number from 0 to 1, so that nodes do not try again all at once.
    """

    def __init__(
        self,
        client: ApiClient,
        now: Callable[[], float],
        node_name: str,
        *,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._now = now
        self._dice = dice
        self._instance = f"{CONTROLLER}-{node_name}"
        self._series = EventSeries(MOST_EVENTS)
        self._news = asyncio.Event()
        self._is_told = False
        self.dropped = 0
        """How many events, or news of their series, were given up."""

    def record(
        self, regarding: Regarding, type_: EventType, reason: str, action: str, note: str
    ) -> None:
        """Something happened. To be called in the thread of the loop.

        Args:
            regarding: To which object.
            type_: Whether it is in order.
            reason: Why, in one word: what programs look for.
            action: What was done, in one word.
            note: For people.
        """
        key = EventKey(regarding, type_, reason, action)
        if self._series.note(key, note, self._now()):
            self._news.set()
        else:
            self._drop(key, f"{MOST_EVENTS} others wait", None)

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            happening = self._series.take(self._now())
            if happening is None:
                await self._wait()
            else:
                await self._write(happening)

    async def _wait(self) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._series.wait_s(self._now())):
                await self._news.wait()

    async def _write(self, happening: Happening) -> None:
        for tries in range(MOST_TRIES):
            count = happening.count  # may grow while we write
            outcome = await self._try(happening)
            if outcome.fate is not _Fate.DELAYED:
                break
            log.debug("event delayed", object=happening.name, error=outcome.problem)
            if tries < MOST_TRIES - 1:
                delay = min(LONGEST_DELAY_S, 2.0**tries) * (1 + self._dice()) / 2
                await asyncio.sleep(max(delay, min(outcome.retry_after_s, LONGEST_DELAY_S)))
        happening.settle(count, self._now())
        if outcome.fate is not _Fate.WRITTEN:
            self._drop(happening.key, outcome.problem, outcome.hint)
        elif self._is_told:
            self._is_told = False
            log.info("events are written again", dropped=self.dropped)

    async def _try(self, happening: Happening) -> _Outcome:
        path = f"/apis/events.k8s.io/v1/namespaces/{happening.namespace}/events"
        try:
            if happening.written_count:
                # Events live for an hour, and one may not have been written: then it is 404.
                series = happening.to_series()
                type_ = "application/merge-patch+json"
                reply = await self._ask("PATCH", f"{path}/{happening.name}", series, type_)
                if reply.status != 404:
                    return _judge(reply)
            event = happening.to_event(CONTROLLER, self._instance)
            reply = await self._ask("POST", path, event, "application/json")
        except SourceError as error:
            return _Outcome(_Fate.DELAYED, error.message, error.hint)
        if reply.status == 409:  # an earlier try had arrived, only its answer had not
            return _Outcome(_Fate.WRITTEN)
        return _judge(reply)

    async def _ask(
        self, method: str, path: str, body: dict[str, object], content_type: str
    ) -> _Reply:
        request = self._client.request(
            method, path, body=msgspec.json.encode(body), content_type=content_type
        )
        async with request as answer:
            text = await answer.body(_LONGEST_ANSWER)
            after = answer.headers.get("Retry-After", "")
            return _Reply(answer.status, _message(text), float(after) if after.isdigit() else 0.0)

    def _drop(self, key: EventKey, problem: str, hint: str | None) -> None:
        """Count it; say so once, until it works again."""
        self.dropped += 1
        if not self._is_told:
            self._is_told = True
            name = f"{key.regarding.kind} {key.regarding.name}"
            log.warning(
                "event not written", object=name, reason=key.reason, error=problem, hint=hint
            )


def _judge(reply: _Reply) -> _Outcome:
    status = reply.status
    if status < 300:
        return _Outcome(_Fate.WRITTEN)
    problem = f"{status} {reply.message}".strip()
    if status in (409, 429) or status >= 500:
        return _Outcome(_Fate.DELAYED, problem, retry_after_s=reply.retry_after_s)
    return _Outcome(_Fate.REFUSED, problem, _HINT_RIGHTS if status == 403 else None)


def _message(text: bytes) -> str:
    try:
        return msgspec.json.decode(text, type=_Status).message
    except msgspec.DecodeError:
        return ""
