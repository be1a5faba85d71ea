"""``netproxy run``: the daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli.options import daemon_flags, dry_run_flag, proxy_flags, take_over_flag

if TYPE_CHECKING:
    from netproxy.contracts import Preview
    from netproxy.core.config import ProxyConfig
    from netproxy.daemon import Daemon, Source
    from netproxy.dataplanes import Dataplanes
    from netproxy.proxier import Proxier
    from netproxy.sync import Periods


@click.command()
@proxy_flags
@daemon_flags
@dry_run_flag
@take_over_flag
def run(*, dry_run: bool, take_over: bool, output_format: str, color: str, **flags: Any) -> None:
    """Keep the kernel in step with manifests, until stopped.

    Watches the files and directories and programs every change. A broken file changes nothing:
    its last good version stays. SIGTERM and SIGINT stop it and leave the rules in place; SIGHUP
    reads everything again and compares it with the kernel.
    """
    import asyncio

    from netproxy import __version__, log
    from netproxy.cli import settings

    config = settings.read_proxy_config(flags)
    paths = settings.require_filenames(flags)
    periods = settings.read_periods(flags)
    verbosity = settings.read_verbosity(flags)
    log.configure(is_json=flags["log_format"] == "json", verbosity=verbosity)
    opened = (
        _dry_daemon(config, paths, periods, is_json=output_format == "json", color=color)
        if dry_run
        else _kernel_daemon(config, paths, periods, take_over=take_over)
    )
    with opened as daemon:
        log.EventLogger(__name__).info(
            "starting", version=__version__, node=config.node_name, dry_run=dry_run
        )
        asyncio.run(daemon.run())


@contextmanager
def _kernel_daemon(
    config: ProxyConfig, paths: Sequence[str], periods: Periods, *, take_over: bool
) -> Iterator[Daemon]:
    from netproxy.daemon import Daemon
    from netproxy.dataplanes import in_kernel
    from netproxy.kernel.addresses import AddressListener
    from netproxy.log import EventLogger

    tell = _trace if EventLogger(__name__).is_tracing() else None
    # Listening begins before the first look, so that nothing is missed in between.
    with (
        closing(AddressListener()) as ears,
        in_kernel(config, listen=True, take_over=take_over, tell=tell) as kernel,
    ):
        yield Daemon(
            _proxier(config, kernel),
            _source(paths),
            periods=periods,
            drift=kernel.drift,
            addresses=ears,
            settle=kernel.settle,
            answers_health_checks=True,
        )


@contextmanager
def _dry_daemon(
    config: ProxyConfig, paths: Sequence[str], periods: Periods, *, is_json: bool, color: str
) -> Iterator[Daemon]:
    from netproxy.daemon import Daemon
    from netproxy.dataplanes import on_paper

    def tell(change: Preview) -> None:
        _print_change(proxier, change, is_json=is_json, color=color)

    proxier = _proxier(config, on_paper(config, tell=tell))
    yield Daemon(proxier, _source(paths), periods=periods)


def _proxier(config: ProxyConfig, dataplanes: Dataplanes) -> Proxier:
    from netproxy.kernel.addresses import read_addresses
    from netproxy.proxier import Proxier

    return Proxier(config, dataplanes.by_family, read_addresses, dataplanes.flows)


def _source(paths: Sequence[str]) -> Source:
    from netproxy.daemon import Source
    from netproxy.sources.manifests import watch_manifests

    return Source(watch=lambda: watch_manifests(paths), can_restart="-" not in paths)


def _trace(change: Preview) -> None:
    from netproxy.dataplanes import render_change
    from netproxy.log import EventLogger

    EventLogger(__name__).trace("transaction", text=render_change(change))


def _print_change(proxier: Proxier, change: Preview, *, is_json: bool, color: str) -> None:
    from netproxy.cli import output
    from netproxy.dataplanes import change_to_json, render_change

    if is_json:
        sys.stdout.write(json.dumps(change_to_json(change)) + "\n")
    else:
        output.print_rules(render_change(change, proxier.owners) + "\n", color=color)
    sys.stdout.flush()
