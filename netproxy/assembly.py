"""Puts a node's proxy together: settings in, a daemon's engine out, and another one on a reload.

Not here: what the settings mean (``config``), when to sync (``sync.py``), what is done on the way
(``daemon.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    ExitStack,
    aclosing,
    asynccontextmanager,
    closing,
)

from netproxy import __version__
from netproxy.config.decode import Configuration
from netproxy.config.encode import to_plain
from netproxy.config.settings import Settings
from netproxy.connection_counts import ConnectionCounts
from netproxy.contracts import Preview
from netproxy.core.config import DetectLocalMode, ProxyConfig
from netproxy.core.surroundings import accepts_localhost
from netproxy.daemon import Batch, Daemon, Engine, Source
from netproxy.dataplanes import in_kernel, on_paper, render_change
from netproxy.errors import NetproxyError, UnsupportedError
from netproxy.health.state import HealthState
from netproxy.kernel import host
from netproxy.kernel.addresses import AddressListener, read_addresses
from netproxy.kubernetes.contract import ClientSettings, ObserveRequest
from netproxy.leftovers import blind_spots
from netproxy.log import EventLogger, configure
from netproxy.metrics.proxy import ProxyMetrics
from netproxy.metrics.registry import Figures, Looked
from netproxy.model.ip import Family
from netproxy.observer import Observer
from netproxy.proxier import Proxier
from netproxy.reporter import Reporter
from netproxy.service_manager import ServiceManager
from netproxy.serving import ServeTrouble, Serving, Shown, Where, open_serving
from netproxy.support import find_support
from netproxy.sync import Periods
from netproxy.web import Place

log = EventLogger(__name__)

Tell = Callable[[Proxier, Preview], None]
Change = tuple[Configuration, Settings] | Exception
"""What the configuration file says anew, or why that cannot be used."""

_HINT_BLIND = (
    "kube-proxy's rules, if there are any, stay in force: remove them as root with kube-proxy "
    "--cleanup or netproxy cleanup; --no-take-over does not look"
)


class NodeProxy:
    """One node's proxy, with everything around it.

    Args:
        configuration: As the operator gave it.
        settings: What it means.
        paths: Manifests to read; none: ask the Kubernetes API.
        tell: For a dry run: gets what would be done.
        flags: Those that were given, for who asks with which it was started.
        figures: What else in this process counts, told along with what the proxy counts.
        observers: Who else is told what the proxy does.
    """

    def __init__(
        self,
        configuration: Configuration,
        settings: Settings,
        *,
        paths: Sequence[str] = (),
        tell: Tell | None = None,
        flags: Mapping[str, object] | None = None,
        figures: Sequence[Figures] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._paths = tuple(paths)
        self._tell = tell
        self._flags = flags or {}
        self._manager = ServiceManager()
        self._metrics = ProxyMetrics()
        for each in figures:
            self._metrics.join(each)
        self._observers = (self._metrics, self._manager, *observers)
        self._health = HealthState()
        self._serving: Serving | None = None
        self._counts: ConnectionCounts | None = None

    async def run(self, changes: AsyncIterator[Change]) -> None:
        """Work until told to stop.

        Args:
            changes: What the configuration file says anew.

        Raises:
            ConfigError, UnsupportedError: it can never work.
        """
        settings = self._settings
        log.info(
            "starting",
            version=__version__,
            node=settings.proxy.node_name,
            mode=settings.proxy.mode.value,
            dry_run=self._tell is not None,
        )
        if self._tell is not None:
            await self._work(Daemon(self._open_engine(settings)), changes)
            return
        supported = await asyncio.to_thread(prepare_host, settings)
        async with AsyncExitStack() as stack:
            reporter = await stack.enter_async_context(self._open_reporter(settings))
            self._serving = await stack.enter_async_context(self._open_serving(reporter))
            daemon = Daemon(
                self._open_engine(supported),
                answers_health_checks=True,
                health=self._health,
                observers=self._observers,
                report=reporter.port_trouble if reporter else lambda _: None,
            )
            self._counts = ConnectionCounts(daemon.read_counts)
            self._metrics.look(self._counts.looked)
            stack.callback(self._counts.close)
            if reporter is not None:
                reporter.starting()
            self._manager.start_watchdog()
            stack.callback(self._manager.stop)
            await self._work(daemon, changes)

    async def _work(self, daemon: Daemon, changes: AsyncIterator[Change]) -> None:
        following = asyncio.create_task(self._follow(changes, daemon))
        try:
            await daemon.run()
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    @asynccontextmanager
    async def _open_reporter(self, settings: Settings) -> AsyncIterator[Reporter | None]:
        """Who writes events to the API; None where there is none."""
        if self._paths:
            yield None
            return
        from netproxy.kubernetes.connect import open_client
        from netproxy.kubernetes.recorder import EventRecorder

        # A client of its own, so that events do not use up what lists and watches may ask.
        client = open_client(ClientSettings(*settings.api), observe=self._metrics.asked)
        recorder = EventRecorder(client, time.time, settings.proxy.node_name)
        self._metrics.look(
            Looked(
                "netproxy_api_events_dropped_total",
                "Events that could not be written to the API.",
                lambda: [((), recorder.dropped)],
                is_counter=True,
            )
        )
        writing = asyncio.create_task(recorder.run())
        try:
            yield Reporter(recorder, settings.proxy.node_name)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await client.close()

    def _open_serving(self, reporter: Reporter | None) -> AbstractAsyncContextManager[Serving]:
        """Who answers how the proxy is, and what it has done."""

        def report(trouble: ServeTrouble) -> None:
            if reporter is not None and trouble.error:
                error = f"{trouble.address}: {trouble.error}"
                reporter.cannot_listen(trouble.server, error)

        return open_serving(
            _where(self._settings),
            health=self._health,
            metrics=self._metrics,
            shown=Shown(
                mode=lambda: self._settings.proxy.mode.value,
                configuration=lambda: to_plain(self._configuration),
                flags=lambda: self._flags,
                refresh=self._refresh,
            ),
            report=report,
        )

    async def _refresh(self) -> None:
        if self._counts is not None and self._settings.proxy.service_counters:
            await self._counts.refresh()

    async def _follow(self, changes: AsyncIterator[Change], daemon: Daemon) -> None:
        async for change in changes:
            if isinstance(change, NetproxyError):
                hint = "what was read before stays in force"
                log.error("configuration not read", error=change.message, hint=hint)
            elif isinstance(change, Exception):
                raise change
            else:
                await self._change_to(*change, daemon)

    async def _change_to(
        self, configuration: Configuration, settings: Settings, daemon: Daemon
    ) -> None:
        if settings == self._settings:
            return
        _configure_log(settings)
        try:
            supported = settings
            if self._tell is None:
                supported = await asyncio.to_thread(prepare_host, settings)
            engine = self._open_engine(supported)
            try:
                if self._serving is not None:
                    self._serving.move(_where(settings))
            except NetproxyError:
                engine.close()
                raise
        except NetproxyError as error:
            _configure_log(self._settings)
            log.error("configuration not taken", error=error.message, hint=error.hint)
            return
        self._configuration, self._settings = configuration, settings
        log.info("configuration changed", mode=settings.proxy.mode.value)
        daemon.replace(engine)

    def _open_engine(self, settings: Settings) -> Engine:
        source = manifest_source(self._paths) if self._paths else self._kubernetes_source(settings)
        periods = Periods(
            min_s=settings.min_sync_period_s,
            retry_limit_s=settings.sync_period_s,
            full_s=settings.full_sync_period_s,
        )
        if self._tell is not None:
            return _paper_engine(settings.proxy, source, periods, self._tell)
        return _kernel_engine(settings.proxy, source, periods, take_over=settings.take_over)

    def _kubernetes_source(self, settings: Settings) -> Source:
        """An API server, watched."""
        return Source(watch=lambda: _watch_kubernetes(settings, self._metrics.asked))


def _where(settings: Settings) -> Where:
    """The addresses at which questions are answered."""
    health, metrics = settings.health_address, settings.metrics_address
    return Where(
        Place(*health) if health else None,
        Place(*metrics) if metrics else None,
        settings.bind_hard_fail,
        settings.profiling,
    )


def _configure_log(settings: Settings) -> None:
    configure(is_json=settings.log.is_json, verbosity=settings.log.verbosity)


def prepare_host(settings: Settings, *, is_for_another: bool = False) -> Settings:
    """See to what the rules need on this host, and say what was done, and what cannot be.

    What would make everything vain is found out first, before anything is written.

    Args:
        settings: What is wished.
        is_for_another: Everything that needs more rights than those of the process for which
            this is done (``--init-only``); also what else would be done once rules are in place.

    Returns:
        The settings, with only those families that this host can do.

    Raises:
        UnsupportedError: it can never work, or a setting cannot be written that has to be.
    """
    config = settings.proxy
    support = find_support(config)
    for family, why in support.left_out.items():
        log.info("family left out", family=family.label, reason=why)
    config = config._replace(families=support.families)
    report = host.prepare_host(_wishes(settings, config, is_for_another=is_for_another))
    for done in report.done:
        log.info("host prepared", done=done)
    for trouble in report.troubles:
        if settings.require_sysctls and not trouble.what.startswith("/proc/self"):
            raise UnsupportedError(f"cannot set {trouble.what}: {trouble.error}", hint=trouble.hint)
        log.warning(
            "cannot prepare host", setting=trouble.what, error=trouble.error, hint=trouble.hint
        )
    for spot in blind_spots(config, support.variant) if settings.take_over else []:
        log.warning("cannot look for former rules", error=spot, hint=_HINT_BLIND)
    return settings._replace(proxy=config)


def _wishes(settings: Settings, config: ProxyConfig, *, is_for_another: bool) -> host.Wishes:
    wanted = settings.conntrack
    has_localhost = Family.IPV4 in config.families and accepts_localhost(config, Family.IPV4)
    return host.Wishes(
        wanted.max_per_core,
        wanted.min,
        wanted.tcp_established_s,
        wanted.tcp_close_wait_s,
        wanted.tcp_be_liberal,
        wanted.udp_s,
        wanted.udp_stream_s,
        oom_score_adj=None if is_for_another else settings.oom_score_adj,
        route_localnet=is_for_another and has_localhost,
    )


def manifest_source(paths: tuple[str, ...]) -> Source:
    """Files and directories, watched; or standard input, read once."""
    from netproxy.sources.manifests import watch_manifests

    return Source(watch=lambda: watch_manifests(paths), can_restart="-" not in paths)


async def _watch_kubernetes(
    settings: Settings, observe: ObserveRequest
) -> AsyncGenerator[Batch, None]:
    from netproxy.kubernetes.connect import open_client
    from netproxy.sources.kubernetes.readiness import NodeWait
    from netproxy.sources.kubernetes.source import watch_kubernetes

    config = settings.proxy
    wait = NodeWait(needs_pod_cidrs=config.detect_local_mode is DetectLocalMode.NODE_CIDR)
    client = open_client(ClientSettings(*settings.api), observe=observe)
    try:
        async with aclosing(watch_kubernetes(client, config.node_name, wait=wait)) as batches:
            async for batch in batches:
                yield batch
    finally:
        await client.close()


def _kernel_engine(
    config: ProxyConfig, source: Source, periods: Periods, *, take_over: bool
) -> Engine:
    """One that programs the kernel. Nothing is written before its first sync.

    Raises:
        UnsupportedError: this host or this user cannot do it.
    """
    tell = _trace if log.is_tracing() else None
    with ExitStack() as stack:
        # Listening begins before the first look, so that nothing is missed in between.
        ears = stack.enter_context(closing(AddressListener()))
        kernel = stack.enter_context(in_kernel(config, listen=True, take_over=take_over, tell=tell))
        return Engine(
            Proxier(config, kernel.by_family, read_addresses, kernel.flows),
            source,
            periods,
            drift=kernel.drift,
            addresses=ears,
            settle=kernel.settle,
            close=stack.pop_all().close,
            mode=config.mode,
        )
    raise AssertionError  # nothing above swallows exceptions


def _paper_engine(config: ProxyConfig, source: Source, periods: Periods, tell: Tell) -> Engine:
    """One for a dry run: what it would do is told instead, as seen from an empty kernel."""
    proxier: Proxier

    def tell_with_owners(change: Preview) -> None:
        tell(proxier, change)

    paper = on_paper(config, tell=tell_with_owners)
    proxier = Proxier(config, paper.by_family, read_addresses, paper.flows)
    return Engine(proxier, source, periods, mode=config.mode)


def _trace(change: Preview) -> None:
    log.trace("transaction", text=render_change(change))
