"""``netproxy run``: the daemon."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli.options import daemon_flags, dry_run_flag, proxy_flags, take_over_flag

if TYPE_CHECKING:
    from netproxy.contracts import Preview
    from netproxy.proxier import Proxier


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

    from netproxy import __version__, assembly, log
    from netproxy.cli import settings
    from netproxy.daemon import Daemon

    config = settings.read_proxy_config(flags)
    paths = settings.require_filenames(flags)
    periods = settings.read_periods(flags)
    verbosity = settings.read_verbosity(flags)
    log.configure(is_json=flags["log_format"] == "json", verbosity=verbosity)
    source = assembly.manifest_source(paths)
    if dry_run:

        def tell(proxier: Proxier, change: Preview) -> None:
            _print_change(proxier, change, is_json=output_format == "json", color=color)

        engine = assembly.paper_engine(config, source, periods, tell)
    else:
        engine = assembly.kernel_engine(config, source, periods, take_over=take_over)
    log.EventLogger(__name__).info(
        "starting", version=__version__, node=config.node_name, dry_run=dry_run
    )
    asyncio.run(Daemon(engine, answers_health_checks=not dry_run).run())


def _print_change(proxier: Proxier, change: Preview, *, is_json: bool, color: str) -> None:
    from netproxy.cli import output
    from netproxy.dataplanes import change_to_json, render_change

    if is_json:
        sys.stdout.write(json.dumps(change_to_json(change)) + "\n")
    else:
        output.print_rules(render_change(change, proxier.owners) + "\n", color=color)
    sys.stdout.flush()
