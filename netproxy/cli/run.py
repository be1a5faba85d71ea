"""``netproxy run``: the daemon."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli.options import daemon_flags, dry_run_flag, proxy_flags, take_over_flag
from netproxy.cli.server_options import join_flags
from netproxy.errors import ConfigError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from netproxy.config.settings import Settings
    from netproxy.contracts import Preview
    from netproxy.proxier import Proxier


@click.command()
@proxy_flags
@daemon_flags
@dry_run_flag
@take_over_flag
@join_flags
def run(*, dry_run: bool, output_format: str, color: str, **flags: Any) -> int | None:
    """Keep the kernel in step with Services and their endpoints, until stopped.

    They come from a Kubernetes API server: that of --kubeconfig, of --master, or of the cluster in
    which this runs as a pod. With -f they come from manifests instead: files and directories are
    watched; a broken file changes nothing, its last good version stays.

    SIGTERM and SIGINT stop it and leave the rules in place; SIGHUP reads everything again and
    compares it with the kernel.
    """
    import asyncio

    from netproxy import assembly, log
    from netproxy.cli.loading import Loader
    from netproxy.observer import FirstSync

    ctx = click.get_current_context()
    given = _flags_given(ctx)
    loader = Loader(flags, given)
    loaded = loader.load()
    settings = loaded.settings
    log.configure(is_json=settings.log.is_json, verbosity=settings.log.verbosity)
    loader.say_what_has_no_effect(loaded)
    if flags["write_config_to"] is not None:
        from netproxy.config_file import write_config_file

        write_config_file(flags["write_config_to"], loaded.configuration)
        return None
    if flags["cleanup"]:
        from netproxy.cli.rules import clean_up_everybody

        return clean_up_everybody()
    if flags["init_only"]:
        assembly.prepare_host(settings, is_for_another=True)
        return None

    def tell(proxier: Proxier, change: Preview) -> None:
        _print_change(proxier, change, is_json=output_format == "json", color=color)

    first = FirstSync()
    node = assembly.NodeProxy(
        loaded.configuration,
        settings,
        paths=flags["filename"],
        tell=tell if dry_run else None,
        flags={given[name]: ctx.params[name] for name in sorted(given)},
        observers=[first],
    )

    agent = _agent(flags, settings, first.done, is_dry=dry_run)

    async def main() -> None:
        changes = (
            each if isinstance(each, Exception) else (each.configuration, each.settings)
            async for each in loader.changes()
        )
        async with agent():
            await node.run(changes)

    asyncio.run(main())
    return None


def _agent(
    flags: dict[str, Any], settings: Settings, rules: asyncio.Event, *, is_dry: bool
) -> Callable[[], AbstractAsyncContextManager[None]]:
    """What makes this host a node besides its proxy; with --run-pods only.

    Args:
        flags: As they were given.
        settings: The proxy's.
        rules: Set when the kernel has the rules of all Services.
        is_dry: Nothing is to be done.

    Raises:
        ConfigError: a flag makes no sense.
    """
    from netproxy.cli.settings import read_switch

    if not read_switch("--run-pods", flags["run_pods"]):
        return nullcontext
    if flags["filename"] or is_dry:
        raise ConfigError(
            setting="--run-pods",
            problem="needs an API server, and does what it says",
            hint="leave out --filename and --dry-run",
        )
    from netproxy.cli.server_settings import host_addresses, pod_settings
    from netproxy.node_agent import open_node_agent

    addresses = settings.proxy.node_ips or host_addresses()
    pods = pod_settings(flags, settings.proxy.node_name, addresses)
    return lambda: open_node_agent(settings.api, pods, rules)


def _flags_given(ctx: click.Context) -> dict[str, str]:
    """The flags that somebody gave, in whatever way: click's name → the flag as it is written."""
    ways = (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.ENVIRONMENT)
    return {
        parameter.name: parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name in ctx.params and ctx.get_parameter_source(parameter.name) in ways
    }


def _print_change(proxier: Proxier, change: Preview, *, is_json: bool, color: str) -> None:
    from netproxy.cli import output
    from netproxy.dataplanes import change_to_json, render_change

    if is_json:
        sys.stdout.write(json.dumps(change_to_json(change)) + "\n")
    else:
        output.print_rules(render_change(change, proxier.owners) + "\n", color=color)
    sys.stdout.flush()
