"""``netproxy run``: the daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli.options import daemon_flags, dry_run_flag, proxy_flags

if TYPE_CHECKING:
    from netproxy.contracts import Table
    from netproxy.core.config import ProxyConfig
    from netproxy.daemon import Daemon, Source
    from netproxy.model.ip import Family
    from netproxy.nft.transaction import Transaction
    from netproxy.proxier import Proxier
    from netproxy.sync import Periods

_Tell = Callable[["Transaction"], None]


@click.command()
@proxy_flags
@daemon_flags
@dry_run_flag
def run(*, dry_run: bool, output_format: str, color: str, **flags: Any) -> None:
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
        else _kernel_daemon(config, paths, periods)
    )
    with opened as daemon:
        log.EventLogger(__name__).info(
            "starting", version=__version__, node=config.node_name, dry_run=dry_run
        )
        asyncio.run(daemon.run())


@contextmanager
def _kernel_daemon(config: ProxyConfig, paths: Sequence[str], periods: Periods) -> Iterator[Daemon]:
    from netproxy.backends.nftables.names import TABLE
    from netproxy.daemon import Daemon
    from netproxy.kernel.nftables import Tables
    from netproxy.log import EventLogger

    with Tables(TABLE, config.families, listen=True) as kernel:
        tables: Mapping[Family, Table] = kernel.by_family
        if EventLogger(__name__).is_tracing():
            tables = _told(tables, _trace)
        proxier = _proxier(config, tables)
        yield Daemon(proxier, _source(paths), periods=periods, listener=kernel.listener)


@contextmanager
def _dry_daemon(
    config: ProxyConfig, paths: Sequence[str], periods: Periods, *, is_json: bool, color: str
) -> Iterator[Daemon]:
    from netproxy.daemon import Daemon
    from netproxy.nft.fake import FakeTable

    fakes = {family: FakeTable(family) for family in config.families}

    def tell(transaction: Transaction) -> None:
        _print_transaction(proxier, transaction, is_json=is_json, color=color)
        fakes[transaction.family].commits.clear()

    proxier = _proxier(config, _told(fakes, tell))
    yield Daemon(proxier, _source(paths), periods=periods)


def _told(tables: Mapping[Family, Table], tell: _Tell) -> dict[Family, Table]:
    from netproxy.cli.told import ToldTable

    return {family: ToldTable(table, tell) for family, table in tables.items()}


def _proxier(config: ProxyConfig, tables: Mapping[Family, Table]) -> Proxier:
    from netproxy.kernel.addresses import read_addresses
    from netproxy.proxier import Proxier

    return Proxier(config, tables, read_addresses)


def _source(paths: Sequence[str]) -> Source:
    from netproxy.daemon import Source
    from netproxy.sources.manifests import watch_manifests

    return Source(watch=lambda: watch_manifests(paths), can_restart="-" not in paths)


def _trace(transaction: Transaction) -> None:
    from netproxy.log import EventLogger
    from netproxy.render.nftables import render_transaction

    EventLogger(__name__).trace("transaction", text=render_transaction(transaction))


def _print_transaction(
    proxier: Proxier, transaction: Transaction, *, is_json: bool, color: str
) -> None:
    from netproxy.cli import output
    from netproxy.cli.rules import annotations_of
    from netproxy.render.nftables import render_transaction, transaction_to_json

    if is_json:
        sys.stdout.write(json.dumps(transaction_to_json(transaction)) + "\n")
    else:
        notes = annotations_of(proxier, transaction.family)
        output.print_rules(render_transaction(transaction, notes) + "\n", color=color)
    sys.stdout.flush()
