"""Answers over HTTP how the proxy is (``--healthz-bind-address``) and what it has done
(``--metrics-bind-address``).

Source: kube-proxy 1.36, pkg/proxy/healthcheck and cmd/kube-proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import NamedTuple

from netproxy.errors import UnsupportedError
from netproxy.health.state import HealthState
from netproxy.metrics.proxy import ProxyMetrics
from netproxy.metrics.registry import Page as Scrape
from netproxy.serving.addresses import ServeTrouble, Stand
from netproxy.serving.debug_pages import flags_text, stacks_text, status_text
from netproxy.serving.health_pages import health_pages
from netproxy.serving.pages import Page, Pages, json_page, text_page
from netproxy.web import Answer, Place, Request

__all__ = ["ServeTrouble", "Serving", "Shown", "Where", "open_serving"]

MOST_CALLERS = 256
"""Connections to the health address."""
MOST_SCRAPERS = 64
"""Connections to the metrics address."""


class Where(NamedTuple):
    """Where to answer. All of it may change while it runs."""

    health: Place | None
    """None: nowhere."""
    metrics: Place | None
    hard_fail: bool = False
    """An address that cannot be used ends the start; otherwise it is tried again."""
    profiling: bool = False
    """Show ``/debug/stacks``."""


class Shown(NamedTuple):
    """What is shown besides figures, asked for at each request. Nothing of it may be secret."""

    mode: Callable[[], str]
    """The proxy mode in words."""
    configuration: Callable[[], Mapping[str, object]]
    """For ``/configz``: configurations as JSON has them, by the names of their APIs."""
    flags: Callable[[], Mapping[str, object]]
    """The flags that were given."""
    refresh: Callable[[], Awaitable[None]]
    """Brings up to date what is only known when somebody asks; raises nothing."""


class Serving:
    """Both servers.

    Args:
        health: What questions about health are answered from.
        metrics: What scrapes are answered from; counts answers.
        shown: What else is shown.
        report: Hears of addresses that cannot be used.
    """

    def __init__(
        self,
        health: HealthState,
        metrics: ProxyMetrics,
        shown: Shown,
        report: Callable[[ServeTrouble], None],
    ) -> None:
        self._metrics = metrics
        self._shown = shown
        self._health = health
        self._started = health.now
        self._has_profiling = False
        # One thread: scrapes wait for each other, and never for, or before, a sync.
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="render")
        pages = Pages(health_pages(health, metrics.answered))
        flag = "--healthz-bind-address"
        self.health = Stand("health", flag, pages, most=MOST_CALLERS, report=report)
        pages = Pages(self._metrics_pages())
        flag = "--metrics-bind-address"
        self.metrics = Stand("metrics", flag, pages, most=MOST_SCRAPERS, report=report)

    def move(self, where: Where) -> None:
        """From now on answer there.

        Raises:
            UnsupportedError: an address cannot be used, and that was to be an error; all is as it
                was before.
        """
        before = self.health.wanted
        self.health.move(where.health, hard_fail=where.hard_fail)
        try:
            self.metrics.move(where.metrics, hard_fail=where.hard_fail)
        except UnsupportedError:
            self.health.move(before)
            raise
        self._has_profiling = where.profiling

    def close(self) -> None:
        """Answer nobody any more."""
        self.health.close()
        self.metrics.close()
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _metrics_pages(self) -> dict[str, Page]:
        pages: dict[str, Page] = {
            "/metrics": self._scrape(self._metrics.render),
            "/metrics/slis": self._scrape(self._metrics.render_slis),
            "/healthz": self._ping,
            "/healthz/ping": self._ping,
            "/proxyMode": _showing(lambda: text_page(self._shown.mode())),
            "/configz": _showing(self._configuration),
            "/flagz": _showing(lambda: text_page(flags_text(self._shown.flags()))),
            "/debug/stacks": _showing(self._stacks),
        }

        def status() -> Answer:
            hidden = () if self._has_profiling else ("/debug/stacks",)
            text = status_text(
                mode=self._shown.mode(),
                started=self._started,
                now=self._health.now,
                paths=[path for path in pages if path not in hidden],
            )
            return text_page(text)

        pages["/statusz"] = _showing(status)
        return pages

    def _scrape(self, render: Callable[[Mapping[str, str]], Scrape]) -> Page:
        async def answer(request: Request) -> Answer:
            await self._shown.refresh()
            loop = asyncio.get_running_loop()
            page = await loop.run_in_executor(self._renderer, render, request.headers)
            return Answer(200, page.body, page.headers)

        return answer

    async def _ping(self, request: Request) -> Answer:  # noqa: ARG002 - any will do
        self._metrics.pinged()
        return text_page("ok")

    def _configuration(self) -> Answer:
        return json_page(dict(self._shown.configuration()))

    def _stacks(self) -> Answer:
        if not self._has_profiling:
            return text_page("there is no such page; --profiling shows it\n", 404)
        return text_page(stacks_text())


@asynccontextmanager
async def open_serving(
    where: Where,
    *,
    health: HealthState,
    metrics: ProxyMetrics,
    shown: Shown,
    report: Callable[[ServeTrouble], None] = lambda _: None,
) -> AsyncIterator[Serving]:
    """Answer for as long as the context lasts. Arguments as ``Serving``.

    Args:
        where: At which addresses; ``Serving.move`` changes that.
        health: As in ``Serving``; so are the following.
        metrics: The figures.
        shown: What else is shown.
        report: Hears of addresses that cannot be used.

    Raises:
        UnsupportedError: an address cannot be used, and ``where`` says that this is an error.
    """
    serving = Serving(health, metrics, shown, report)
    try:
        serving.move(where)
        yield serving
    finally:
        serving.close()


def _showing(show: Callable[[], Answer]) -> Page:
    async def page(request: Request) -> Answer:  # noqa: ARG001 - any will do
        return show()

    return page
