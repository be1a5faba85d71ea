"""Puts a node's proxy together: settings in, a daemon's engine out.

Not here: what the settings mean (``config``), when to sync (``sync.py``), what is done on the way
(``daemon.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing

from netproxy.contracts import Preview
from netproxy.core.config import ProxyConfig
from netproxy.daemon import Engine, Source
from netproxy.dataplanes import Dataplanes, in_kernel, on_paper, render_change
from netproxy.kernel.addresses import AddressListener, read_addresses
from netproxy.log import EventLogger
from netproxy.proxier import Proxier
from netproxy.sync import Periods

log = EventLogger(__name__)


def kernel_engine(
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
            _proxier(config, kernel),
            source,
            periods,
            drift=kernel.drift,
            addresses=ears,
            settle=kernel.settle,
            close=stack.pop_all().close,
        )
    raise AssertionError  # nothing above swallows exceptions


def paper_engine(
    config: ProxyConfig,
    source: Source,
    periods: Periods,
    tell: Callable[[Proxier, Preview], None],
) -> Engine:
    """One for a dry run: what it would do is told instead, as seen from an empty kernel."""
    proxier: Proxier

    def tell_with_owners(change: Preview) -> None:
        tell(proxier, change)

    proxier = _proxier(config, on_paper(config, tell=tell_with_owners))
    return Engine(proxier, source, periods)


def manifest_source(paths: tuple[str, ...]) -> Source:
    """Files and directories, watched; or standard input, read once."""
    from netproxy.sources.manifests import watch_manifests

    return Source(watch=lambda: watch_manifests(paths), can_restart="-" not in paths)


def _proxier(config: ProxyConfig, dataplanes: Dataplanes) -> Proxier:
    return Proxier(config, dataplanes.by_family, read_addresses, dataplanes.flows)


def _trace(change: Preview) -> None:
    log.trace("transaction", text=render_change(change))
