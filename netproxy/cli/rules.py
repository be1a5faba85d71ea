"""``sync``, ``render``, ``diff``, ``cleanup``: one pass over the rules, then exit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli import output
from netproxy.cli.options import dry_run_flag, output_flag, proxy_flags, take_over_flag
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.errors import EXIT_BAD_INPUT, EXIT_DIFFERENT, EXIT_OK
from netproxy.model.diagnostic import Severity
from netproxy.model.events import Event, Listed, ModelObject, Upsert
from netproxy.model.node import Node
from netproxy.model.service import Service

if TYPE_CHECKING:
    from netproxy.contracts import Preview
    from netproxy.leftovers import Leftover
    from netproxy.proxier import AddressReader, Proxier
    from netproxy.sources.manifests import ManifestSet


@click.command()
@proxy_flags
@dry_run_flag
@take_over_flag
def sync(*, dry_run: bool, take_over: bool, output_format: str, color: str, **flags: Any) -> int:
    """Bring the kernel in step once, then exit.

    Reads the manifests, compares the rules they ask for with what the kernel has, and changes
    what differs, all at once. A manifest that cannot be read removes nothing from the kernel;
    the rest is programmed and the exit code is 2.
    """
    return _Pass(flags, output_format=output_format, color=color).sync(
        dry_run=dry_run, take_over=take_over
    )


@click.command()
@proxy_flags
def render(*, output_format: str, color: str, **flags: Any) -> int:
    """Print the whole rule set; touches nothing, needs no root.

    The text can be loaded with `nft -f`. It is made of the flags and the manifests alone, so it
    is the same on every machine: give --hostname-override and --node-ip to stand for a node.
    """
    return _Pass(flags, output_format=output_format, color=color).render()


@click.command()
@proxy_flags
def diff(*, output_format: str, color: str, **flags: Any) -> int:
    """Print what a sync would change in this kernel.

    Exit code 0: nothing; 1: something, which is printed as nft commands; 2: a manifest is wrong.
    """
    return _Pass(flags, output_format=output_format, color=color).diff()


@click.command()
@output_flag
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
def cleanup(*, dry_run: bool, output_format: str) -> int:
    """Remove everything that netproxy made on this node.

    Running it again is harmless. Stop `netproxy run` first: it would put its rules back.
    """
    from netproxy import leftovers

    found, spared = leftovers.of_netproxy()
    return _clean_up(found, spared, dry_run=dry_run, output_format=output_format)


def clean_up_everybody() -> int:
    """``run --cleanup``: as kube-proxy's, the rules of all modes, and kube-proxy's, too."""
    from netproxy import leftovers

    return _clean_up(leftovers.of_everybody(), [], dry_run=False, output_format="text")


def _clean_up(
    found: Sequence[Leftover], spared: Sequence[str], *, dry_run: bool, output_format: str
) -> int:
    from netproxy import leftovers

    if not dry_run:
        leftovers.remove_all(found)
    removed = [leftover.label for leftover in found]
    if output_format == "json":
        output.print_json({"removed": removed, "spared": spared, "dryRun": dry_run})
        return EXIT_OK
    verb = "would remove" if dry_run else "removed"
    for label in removed:
        click.echo(f"{verb} {label}")
    for words in spared:
        click.echo(f"left {words}")
    if not removed:
        click.echo("nothing to remove")
    return EXIT_OK


class _Pass:
    """One pass: flags and manifests in, a printed result and an exit code out.

    Args:
        flags: Of the command line, but for output and colour.
        output_format: ``text`` or ``json``.
        color: ``auto``, ``always`` or ``never``.
    """

    def __init__(self, flags: Mapping[str, Any], *, output_format: str, color: str) -> None:
        from netproxy.cli.settings import read_proxy_config, require_filenames

        self._config = read_proxy_config(flags)
        self._filenames = require_filenames(flags)
        self._is_json = output_format == "json"
        self._color = color

    def sync(self, *, dry_run: bool, take_over: bool) -> int:
        """See the command."""
        if dry_run:
            from netproxy.kernel.addresses import read_addresses

            with output.progress(self._filenames, color=self._color) as say:
                manifests = self._read(say)
                if _has_nothing(manifests):
                    return self._refuse()
                proxier = self._proxier_on_paper(manifests, read_addresses)
                say("computing")
                transactions = proxier.plan(against_kernel=False)
            self._print_transactions(proxier, transactions)
            return self._exit_code(manifests, EXIT_OK)
        return self._sync_kernel(take_over=take_over)

    def _sync_kernel(self, *, take_over: bool) -> int:
        from netproxy.dataplanes import in_kernel
        from netproxy.kernel.addresses import read_addresses
        from netproxy.leftovers import blind_spots
        from netproxy.proxier import Proxier

        tell = _Teller()
        # First: without root all is in vain.
        with in_kernel(self._config, take_over=take_over, tell=tell) as kernel:
            with output.progress(self._filenames, color=self._color) as say:
                tell.say = say
                manifests = self._read(say)
                if _has_nothing(manifests):
                    return self._refuse()
                proxier = Proxier(self._config, kernel.by_family, read_addresses, kernel.flows)
                proxier.apply_events(_events(manifests))
                say("computing")
                report = proxier.sync()
                settled = kernel.settle() if report.is_complete else []
            for words in settled:
                output.print_note(words)
            for spot in blind_spots(self._config) if take_over else []:
                output.print_note(f"note: former rules cannot be looked for: {spot}")
            if report.flow_trouble is not None:
                output.print_note(f"note: stale connections stay: {report.flow_trouble.message}")
            output.print_diagnostics(report.diagnostics, color=self._color)
        if self._is_json:
            diagnostics = (*manifests.diagnostics, *report.diagnostics)
            output.print_json(output.report_to_json(report, diagnostics))
        else:
            output.print_report(report, color=self._color)
        return self._exit_code(manifests, EXIT_OK, is_synced=True)

    def render(self) -> int:
        """See the command."""
        from netproxy import __version__
        from netproxy.dataplanes import change_to_json, render_all
        from netproxy.proxier import no_addresses

        with output.progress(self._filenames, color=self._color) as say:
            manifests = self._read(say)
            if _has_nothing(manifests):
                return self._refuse()
            proxier = self._proxier_on_paper(manifests, no_addresses)
            say("computing")
            transactions = proxier.plan(against_kernel=False)
        if _lacks_nodeport_address(self._config, manifests.objects):
            output.print_note(
                "note: this node's addresses are not known here, so NodePorts lead nowhere; "
                "name them with --node-ip"
            )
        if self._is_json:
            output.print_json({"transactions": [change_to_json(each) for each in transactions]})
        else:
            title = f"netproxy {__version__}: the rules of node {self._config.node_name}"
            text = render_all(transactions, proxier.owners, title=title)
            output.print_rules(text, color=self._color)
        return self._exit_code(manifests, EXIT_OK)

    def diff(self) -> int:
        """See the command."""
        from netproxy.dataplanes import in_kernel
        from netproxy.kernel.addresses import read_addresses
        from netproxy.proxier import Proxier

        with (
            in_kernel(self._config) as kernel,
            output.progress(self._filenames, color=self._color) as say,
        ):
            manifests = self._read(say)
            if _has_nothing(manifests):
                return self._refuse()
            proxier = Proxier(self._config, kernel.by_family, read_addresses)
            proxier.apply_events(_events(manifests))
            say("computing")
            transactions = [t for t in proxier.plan(against_kernel=True) if t]
        self._print_transactions(proxier, transactions)
        return self._exit_code(manifests, EXIT_DIFFERENT if transactions else EXIT_OK)

    def _read(self, say: output.Say) -> ManifestSet:
        from netproxy.sources.manifests import read_manifests

        say("reading manifests")
        manifests = read_manifests(self._filenames)
        output.print_diagnostics(manifests.diagnostics, color=self._color)
        return manifests

    def _proxier_on_paper(self, manifests: ManifestSet, read_addresses: AddressReader) -> Proxier:
        from netproxy.dataplanes import on_paper
        from netproxy.proxier import Proxier

        paper = on_paper(self._config)
        proxier = Proxier(self._config, paper.by_family, read_addresses)
        proxier.apply_events(_events(manifests))
        return proxier

    def _print_transactions(self, proxier: Proxier, transactions: Sequence[Preview]) -> None:
        from netproxy.dataplanes import change_to_json, render_change

        if self._is_json:
            output.print_json({"transactions": [change_to_json(each) for each in transactions]})
            return
        for transaction in transactions:
            output.print_rules(render_change(transaction, proxier.owners), color=self._color)

    def _refuse(self) -> int:
        output.print_note("netproxy: error: nothing could be read, so nothing was touched")
        return EXIT_BAD_INPUT

    def _exit_code(self, manifests: ManifestSet, otherwise: int, *, is_synced: bool = False) -> int:
        if not manifests.complete:
            output.print_note(
                "netproxy: error: not all of this could be used, see above; "
                "so nothing was removed from the kernel"
                if is_synced
                else "netproxy: error: not all of this could be used, see above"
            )
            return EXIT_BAD_INPUT
        if any(each.severity is Severity.ERROR for each in manifests.diagnostics):
            output.print_note("netproxy: error: some objects are not used, see above")
            return EXIT_BAD_INPUT
        return otherwise


class _Teller:
    """Moves a progress bar, once there is one."""

    def __init__(self) -> None:
        self.say: output.Say | None = None

    def __call__(self, change: Preview) -> None:
        if self.say is not None:
            self.say(f"programming {change.family.label}: {change.size():,} operations")


def _events(manifests: ManifestSet) -> Iterable[Event]:
    """What a source would say that has read these manifests."""
    yield from map(Upsert, manifests.objects)
    yield Listed(complete=manifests.complete)


def _has_nothing(manifests: ManifestSet) -> bool:
    """Nothing at all could be read: to go on would tell a kernel full of rules to forget them."""
    return not manifests.complete and not manifests.objects


def _lacks_nodeport_address(config: ProxyConfig, objects: Iterable[ModelObject]) -> bool:
    """Whether there are NodePorts, and nothing says at which addresses."""
    if config.node_ips or any(prefix.length == 0 for prefix in config.nodeport_addresses):
        return False
    if config.mode is ProxyMode.IPTABLES and not config.nodeport_primary:
        return bool(config.nodeport_addresses)
    has_nodeports = False
    for each in objects:
        if isinstance(each, Node) and each.name == config.node_name and each.addresses:
            return bool(config.nodeport_addresses)
        has_nodeports = has_nodeports or (
            isinstance(each, Service) and any(port.node_port for port in each.ports)
        )
    return has_nodeports
