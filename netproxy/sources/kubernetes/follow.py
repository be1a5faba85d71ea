"""Asks an API server what a reflector wants to know, for ever, and says in the log how it goes.

Not here: what to ask, and what answers mean (``reflector.py``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import NoReturn

from netproxy.collector import collector_paused
from netproxy.errors import SourceError
from netproxy.kubernetes.contract import Answer, ApiClient
from netproxy.log import EventLogger
from netproxy.sources.kubernetes.decode import Failure, read_failure, split_list
from netproxy.sources.kubernetes.reflector import Asking, Reflector, Request, Trouble

LONGEST_LINE = 16 << 20
"""Bytes of one event. etcd takes objects of 1.5 MiB."""
LARGEST_LIST = 1 << 30
_LARGEST_REFUSAL = 1 << 20
_BUSY_S = 0.004
"""For so long the loop may be kept from its other work, such as answering health checks."""

log = EventLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


async def follow(
    reflector: Reflector, client: ApiClient, *, sleep: Sleep = asyncio.sleep
) -> NoReturn:
    """Keep a reflector in step with the server until cancelled.

    Raises:
        ConfigError: credentials can never work as they are configured.
    """
    loop = asyncio.get_running_loop()
    journal = _Journal(reflector)
    while True:
        trouble = await _ask(reflector, client, journal)
        wait_s = reflector.ended(loop.time(), trouble)
        journal.ended(trouble)
        await sleep(wait_s)


async def _ask(reflector: Reflector, client: ApiClient, journal: _Journal) -> Trouble | None:
    """One request, and what comes back."""
    request = reflector.next_request()
    try:
        async with client.request("GET", reflector.resource.path, query=request.query) as answer:
            if answer.status != 200:
                return reflector.refused(await _read_refusal(answer))
            reflector.opened(asyncio.get_running_loop().time())
            journal.opened()
            with ExitStack() as pause:
                if reflector.is_listing:
                    collect = reflector.is_listed
                    pause.enter_context(collector_paused(collect=collect))
                if request.asking is Asking.PAGE:
                    return await _read_page(reflector, answer)
                return await _read_stream(reflector, answer, request, pause, journal)
    except SourceError as error:
        return Trouble(error.message, error.hint or "")


async def _read_refusal(answer: Answer) -> Failure:
    try:
        body = await answer.body(_LARGEST_REFUSAL)
    except SourceError:
        body = b""
    failure = read_failure(answer.status, body)
    asked = answer.headers.get("Retry-After", "")
    asked_s = float(asked) if asked.isascii() and asked.isdigit() else 0.0
    return failure._replace(retry_after_s=max(asked_s, failure.retry_after_s))


async def _read_page(reflector: Reflector, answer: Answer) -> Trouble | None:
    page = split_list(await answer.body(LARGEST_LIST))
    loop = asyncio.get_running_loop()
    rest_at = loop.time() + _BUSY_S
    for raw in page.items:
        reflector.take_item(raw)
        if loop.time() >= rest_at:
            await asyncio.sleep(0)
            rest_at = loop.time() + _BUSY_S
    return reflector.end_page(page)


async def _read_stream(
    reflector: Reflector, answer: Answer, request: Request, pause: ExitStack, journal: _Journal
) -> Trouble | None:
    loop = asyncio.get_running_loop()
    patience_s = request.initial_silence_s
    rest_at = loop.time() + _BUSY_S
    is_listing = reflector.is_listing
    try:
        async with asyncio.timeout(patience_s if is_listing else None) as watchdog:
            async for line in answer.lines(silence_s=request.silence_s, limit=LONGEST_LINE):
                if trouble := reflector.take_line(line):
                    return trouble
                journal.heard()
                if is_listing and not reflector.is_listing:
                    is_listing = False
                    watchdog.reschedule(None)
                    pause.close()
                if loop.time() >= rest_at:
                    if is_listing:
                        watchdog.reschedule(loop.time() + patience_s)
                    await asyncio.sleep(0)
                    rest_at = loop.time() + _BUSY_S
    except TimeoutError:
        return reflector.fell_silent()
    return reflector.fell_silent() if is_listing else None


class _Journal:
    """Says each trouble once, and then only at debug level until it is over."""

    def __init__(self, reflector: Reflector) -> None:
        self._reflector = reflector
        self._object = reflector.resource.plural
        self._said = ""
        self._is_open = False

    def opened(self) -> None:
        """The server begins to answer."""
        self._is_open = True

    def heard(self) -> None:
        """The server said something that makes sense."""
        if self._said:
            self._said = ""
            log.info("API server answers again", object=self._object)

    def ended(self, trouble: Trouble | None) -> None:
        """A request is over."""
        was_open, self._is_open = self._is_open, False
        if trouble is None:
            self.heard()
            log.debug("request ended", object=self._object)
            return
        fields = {"object": self._object, "error": trouble.problem, "hint": trouble.hint}
        if not trouble.is_failure:
            log.info("listing in another way", **fields)
        elif trouble.is_relist:
            self._once(log.info, "listing again", fields)
        elif was_open and self._reflector.failures <= 1:
            log.debug("watch cut", **fields)
        else:
            self._once(log.warning, "API server trouble", fields)

    def _once(self, say: Callable[..., None], event: str, fields: dict[str, str]) -> None:
        # Numbers in it, such as versions, are others every time.
        said = re.sub(r"\d+", "0", fields["error"])
        (log.debug if said == self._said else say)(event, **fields)
        self._said = said
