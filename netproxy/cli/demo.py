"""``netproxy demo``: the picture. What happens in it is told by ``netproxy.lab.demo``."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from netproxy.cli.unwinding import ignore_signals, signals_raise
from netproxy.errors import EXIT_OK, UnsupportedError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table
    from rich.text import Text

    from netproxy.lab.cluster import Lab
    from netproxy.lab.demo import Answer, Change, Manifests, Stage, Walk
    from netproxy.lab.spread import Spread
    from netproxy.model.ip import Family

EXIT_DEMO_FAILED = 1
"""A connection failed, or the spread is not what chance makes."""

_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
_PLAIN_WIDTH = 110
_BAR_CELLS = 40
_OTHER_COLUMNS = 76
"""Width of the table of bars without its bars."""
_ORIGIN_STYLES = {"a pod": "cyan", "a node": "green", "outside": "magenta"}


@click.command()
@click.option("--families", type=click.Choice(["ipv4", "dual"]), default="dual", show_default=True)
def demo(families: str) -> None:
    """A cluster without Kubernetes: two nodes, Services, Pods, DNS, and a picture of what happens.

    Services and Pods are applied through the API as kubectl would; a Pod asks DNS for a Service,
    connections are spread, Pods come and go under traffic.

    Everything happens in network namespaces of its own and is gone afterwards. Works as root,
    and for an ordinary user where unprivileged user namespaces are allowed. Exit code 0 means
    that every connection succeeded and was spread as evenly as chance allows.
    """
    from rich.console import Console

    from netproxy.lab import rootless
    from netproxy.lab.demo import Manifests
    from netproxy.render.environment import templates_dir

    is_terminal = sys.stdout.isatty()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ shows a ? instead
    console = Console(highlight=False, width=None if is_terminal else _PLAIN_WIDTH)
    manifests = Manifests(directory=templates_dir() / "demo")
    try:
        rootless.ensure_namespaces(["demo", "--families", families])
        with signals_raise():
            sys.exit(_Show(console, manifests, families).run())
    except UnsupportedError as error:
        _show_dry_run(console, manifests, error)
        sys.exit(error.exit_code)


class _Show:
    """One performance, from the empty stage to the empty stage."""

    def __init__(self, console: Console, manifests: Manifests, families: str) -> None:
        from netproxy.model.ip import Family

        self._console = console
        self._manifests = manifests
        self._families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
        if families == "ipv4":
            self._families = (Family.IPV4,)
        self._started = time.monotonic()
        self._is_fine = True

    def run(self) -> int:
        """The exit code."""
        from netproxy.lab import cluster, rootless
        from netproxy.lab import demo as story

        story.remove_stale_labs()
        where = "inside a user namespace, without root" if rootless.is_rootless() else "as root"
        self._heading("netproxy demo", f"a cluster of network namespaces, {where}")
        spec = story.demo_spec(self._families)
        try:
            with self._busy("building nodes and wires"):
                lab = cluster.up(spec, report=self._say_done)
            self._perform(lab)
        finally:
            ignore_signals()  # a second Ctrl-C must not leave half a lab behind
            with self._busy("removing the lab"):
                cluster.down(spec.name)
        self._console.print(
            f"\n[dim]The lab is gone again. {time.monotonic() - self._started:.1f} s in all.[/]"
        )
        return EXIT_OK if self._is_fine else EXIT_DEMO_FAILED

    def _perform(self, lab: Lab) -> None:
        from netproxy.lab import demo as story

        self._heading("kubectl apply --server-side", f"-f {self._manifests.directory}")
        with self._busy("applying, and waiting for Pods and addresses"):
            story.apply(lab, self._manifests)
            stage = story.look(lab)
        self._say_done(f"Services have addresses, {len(stage.pods)} Pods serve my-service")
        self._show_members(lab, stage)
        self._show_services(stage)
        self._show_answer(story.resolved(lab, stage), stage)
        ways, database = story.list_ways(lab, stage), story.database_way(lab, stage)
        with self._busy("waiting until the addresses of both Services answer"):
            story.wait_for_ways(lab, [*ways, database])
        self._say_done("both Services answer at every address")
        with self._busy("connecting") as busy:
            walks = story.walk(
                ways, report=lambda each: busy.update(f"connecting from {each.way.origin}")
            )
            outside = story.walk([database])
        self._show_spread(walks, stage)
        self._show_database(outside[0])
        self._show_rules(lab, stage)
        streams = [way for way in ways if way.frontend != "node port" and way.origin != "a node"]
        rate = story.STREAM_RATE * len(streams)
        self._heading("Pods come and go", f"under {rate:.0f} new connections a second")
        with self._busy("kubectl scale deployment myapp --replicas 5"):
            self._show_change(story.scale_up(lab, stage, streams))
        stage = story.look(lab)
        with self._busy("kubectl delete pod"):
            self._show_change(story.delete_pod(lab, stage, streams))
        self._show_next()

    def _heading(self, title: str, remark: str) -> None:
        self._console.print(f"\n[bold]{title}[/]  [dim]{remark}[/]")

    def _busy(self, words: str) -> Status:
        """A spinner on a terminal, nothing in a pipe."""
        return self._console.status(f"[dim]{words} …[/]")

    def _say_done(self, words: str) -> None:
        elapsed_s = time.monotonic() - self._started
        self._console.print(f"  [green]✓[/] {words}  [dim]{elapsed_s:.1f} s[/]")

    def _say(self, words: str, *, is_fine: bool) -> None:
        mark = "[green]✓[/]" if is_fine else "[bold red]✗[/]"
        self._is_fine &= is_fine
        self._console.print(f"  {mark} {words}")

    def _show_members(self, lab: Lab, stage: Stage) -> None:
        from rich.padding import Padding
        from rich.tree import Tree

        from netproxy.lab import demo as story
        from netproxy.lab.names import Role

        backbone = Tree("[dim]backbone[/]", guide_style="dim")
        runs = "netproxy standalone: API, controllers, DNS, proxy, Pods"
        for node in lab.topology.of_role(Role.NODE):
            words = f"[bold]{node.member}[/]   {node.addresses[0]}   [dim]{runs}[/]"
            branch = backbone.add(words)
            runs = "netproxy run --run-pods: proxy, Pods"
            for pod, where in stage.pods.items():
                if where == node.member:
                    branch.add(f"{pod}  [dim]app=MyApp[/]")
            if stage.visitor_node == node.member:
                branch.add(f"{story.VISITOR}  [dim]connects to Services[/]")
        for host in lab.topology.of_role(Role.CLIENT) + lab.topology.of_role(Role.HOST):
            words = f"[bold]{host.member:<8}[/] {host.addresses[0]}"
            backbone.add(f"{words} [dim]outside the cluster[/]")
        self._console.print(Padding(backbone, (1, 0, 0, 2), expand=False))

    def _show_services(self, stage: Stage) -> None:
        from netproxy.lab import demo as story

        self._heading("Two Services", "as the API has them now")
        _, by_hand = self._manifests.read(story.DATABASE_FILE)
        spec = stage.service["spec"]
        (port,) = spec["ports"]
        ingress = [each["ip"] for each in stage.service["status"]["loadBalancer"]["ingress"]]
        (subset,) = by_hand["subsets"]
        there = f"{subset['addresses'][0]['ip']} port {subset['ports'][0]['port']}"
        table = self._table()
        ports = f"app=MyApp, port {port['port']} → {port['targetPort']}"
        table.add_row("[bold]my-service[/]", "selector", ports)
        table.add_row("", "cluster IP", "  ".join(spec["clusterIPs"]))
        table.add_row("", "load balancer", "  ".join(ingress))
        table.add_row("", "node port", str(port["nodePort"]))
        table.add_row("[bold]external-database[/]", "no selector", f"Endpoints by hand: {there}")
        table.add_row("", "cluster IP", stage.database["spec"]["clusterIP"])
        self._print_indented(table)

    def _show_answer(self, answer: Answer, stage: Stage) -> None:
        self._heading("DNS", "from inside the Pod visitor: getent ahosts my-service")
        known = set(stage.service["spec"]["clusterIPs"])
        self._say(
            f"{answer.name} is {' and '.join(answer.addresses)}",
            is_fine=set(answer.addresses) == known,
        )

    def _table(self, *, show_header: bool = False) -> Table:
        from rich.table import Table

        return Table(
            box=None,
            show_header=show_header,
            pad_edge=False,
            padding=(0, 2, 0, 0),
            header_style="dim",
        )

    def _print_indented(self, table: Table) -> None:
        from rich.padding import Padding

        self._console.print(Padding(table, (0, 0, 0, 2), expand=False))

    def _show_spread(self, walks: Sequence[Walk], stage: Stage) -> None:
        from netproxy.lab import demo as story

        nodes = stage.pods
        spread = story.total_spread(walks, list(nodes))
        total = sum(len(each.traffic.connections) for each in walks)
        failures = [failure for each in walks for failure in each.traffic.failures]
        self._heading(f"Where {total} connections to my-service went", "")
        self._print_bars(walks, spread, nodes)
        self._say(
            f"even would be {spread.expected:.0f} each ± {spread.sigma:.0f} ({_SIGMA}); "
            f"chance alone is this uneven in {spread.p_value * 100:.2g} % of runs",
            is_fine=spread.p_value > story.PLAUSIBLE_P,
        )
        times = sorted(
            connection.took_ms
            for each in walks
            for connection in each.traffic.connections
            if not connection.error
        )
        half = f"half of them took less than {times[len(times) // 2]:.1f} ms" if times else ""
        if failures:
            reasons = ", ".join(sorted({failure.error for failure in failures}))
            self._say(f"{len(failures)} of {total} failed: {reasons}", is_fine=False)
        else:
            self._say(f"none of {total} failed; {half}", is_fine=True)

    def _print_bars(self, walks: Sequence[Walk], spread: Spread, nodes: Mapping[str, str]) -> None:
        table = self._table(show_header=True)
        table.add_column("endpoint", no_wrap=True)
        table.add_column("on", no_wrap=True)
        for origin, style in _ORIGIN_STYLES.items():
            table.add_column(origin, justify="right", style=style, no_wrap=True)
        table.add_column("all", justify="right", style="bold", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("off by", justify="right", style="dim", no_wrap=True)
        longest = max([*spread.counts.values(), 1])
        for endpoint, count in spread.counts.items():
            parts = {
                origin: sum(
                    each.traffic.answered[endpoint] for each in walks if each.way.origin == origin
                )
                for origin in _ORIGIN_STYLES
            }
            table.add_row(
                endpoint,
                nodes[endpoint],
                *(str(part) for part in parts.values()),
                str(count),
                self._bar(parts, longest),
                f"{spread.deviation(endpoint):+.1f} {_SIGMA}",
            )
        self._print_indented(table)

    def _bar(self, parts: dict[str, int], longest: int) -> Text:
        """Parts of one bar, in the colours of their columns."""
        from rich.text import Text

        cells = max(10, min(_BAR_CELLS, self._console.width - _OTHER_COLUMNS))
        encoding = self._console.encoding.lower()
        cell = "█" if encoding.startswith("utf") else "#"
        bar, done, drawn = Text(), 0, 0
        for origin, part in parts.items():
            done += part
            until = round(done * cells / longest)
            bar.append(cell * (until - drawn), style=_ORIGIN_STYLES[origin])
            drawn = until
        return bar

    def _show_database(self, seen: Walk) -> None:
        connections = seen.traffic.connections
        answered = seen.traffic.answered["database"]
        words = f"external-database: {answered} of {len(connections)}"
        if answered:
            first = next(each for each in connections if not each.error)
            words += f" arrived at {first.address}, which saw {first.client}"
        self._say(words, is_fine=answered == len(connections))

    def _show_rules(self, lab: Lab, stage: Stage) -> None:
        from rich.markup import escape

        from netproxy.lab import demo as story
        from netproxy.lab.follow import follow_packet
        from netproxy.lab.process import ProcessError

        self._heading("What a packet to my-service meets", "node-1, from `netproxy render`")
        try:
            rules = story.render_rules(lab)
        except ProcessError as error:
            self._say(escape(f"{error}: {error.hint}"), is_fine=False)
            return
        address = stage.service["spec"]["clusterIP"]
        table = self._table()
        table.add_column(style="dim", no_wrap=True)
        table.add_column(style="cyan", overflow="fold")
        before = ""
        for name, line in follow_packet(rules, address):
            table.add_row("" if name == before else name, escape(line))
            before = name
        self._print_indented(table)

    def _show_change(self, change: Change) -> None:
        is_effective = change.first_ms < float("inf")
        came = "[red]nobody came[/]"
        if is_effective:
            came = f"[bold]{change.pod}[/] came: first connection after {change.first_ms:.0f} ms"
        words = came
        if change.gone:
            went = f"last connection after {change.last_ms:.0f} ms"
            words = f"[bold]{change.gone}[/] deleted: {went}; {came}"
        failed = f"{len(change.failures)}" if change.failures else "none"
        self._say(
            f"{words}; {failed} of {change.connections} connections failed",
            is_fine=is_effective and not change.failures,
        )

    def _show_next(self) -> None:
        self._heading("Where to look next", "")
        where = self._manifests.directory
        table = self._table()
        for command, remark in (
            (f"netproxy lab up -f {where}", "a lab that stays (as root)"),
            ("netproxy lab status", "what is in it"),
            ("netproxy lab exec node-1", "a shell on a node; kubectl works there"),
            ("netproxy lab exec client", "a shell outside the cluster"),
            ("netproxy lab exec node-1 nft list ruleset", "what the kernel has"),
            ("netproxy lab down", "remove it"),
            ("netproxy standalone", "the same on this very host"),
        ):
            table.add_row(f"[bold]{command}[/]", f"[dim]{remark}[/]")
        self._print_indented(table)


def _show_dry_run(console: Console, manifests: Manifests, error: UnsupportedError) -> None:
    from netproxy.lab import demo as story

    console.print(f"No lab is possible: {error}; {error.hint}", style="yellow", soft_wrap=True)
    console.print(f"The rules it would have made (netproxy render -f {manifests.directory}):\n")
    click.echo(story.render_dry(manifests))
