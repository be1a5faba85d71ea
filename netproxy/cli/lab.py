"""``netproxy lab``: a whole cluster of network namespaces on this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netproxy.cli.unwinding import signals_raise

if TYPE_CHECKING:
    from netproxy.lab.cluster import Lab
    from netproxy.lab.status import Member
    from netproxy.lab.topology import LabSpec

_FAMILY_CHOICES = ("ipv4", "ipv6", "dual")

_name_option = click.option(
    "--name", "--lab", "name", default="lab", show_default=True, help="Name of the lab."
)


@click.group()
def lab() -> None:
    """A whole cluster of network namespaces on this machine.

    Nodes on a common wire, each with netproxy running; pods with their own address and a
    server that answers with its name; a client outside the cluster. Real packets, real rules.
    """


@lab.command()
@_name_option
@click.option("--nodes", default=2, show_default=True, help="Number of nodes.")
@click.option("--pods", default=2, show_default=True, help="Number of pods per node.")
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="A further host outside the cluster."
)
@click.option("--families", type=click.Choice(_FAMILY_CHOICES), default="dual", show_default=True)
@click.option(
    "--port", "ports", multiple=True, type=int, help="Where pods answer.  [default: 80, 9376]"
)
@click.option(
    "-f",
    "manifests",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Services, Pods and so on: a file or a directory.",
)
@click.option(
    "--by-manifests",
    is_flag=True,
    help="No API: the nodes read the manifests, and watch them; Pods are wired by the lab.",
)
@click.option("--no-proxy", is_flag=True, help="Do not run netproxy on the nodes.")
def up(
    *,
    name: str,
    manifests: tuple[Path, ...],
    by_manifests: bool,
    no_proxy: bool,
    **size: Any,
) -> None:
    """Bring a lab up, and return when it is ready.

    The first node runs netproxy standalone, the others join it: kubectl is the client, and Pods
    are processes in namespaces of their own. With --by-manifests or --no-proxy there is no API.
    """
    from netproxy.lab import cluster, rootless

    rootless.require_namespaces()
    spec = _spec(name=name, **size)
    spec = dataclasses.replace(spec, is_cluster=not (by_manifests or no_proxy))
    started = time.monotonic()

    def report(words: str) -> None:
        click.echo(f"{time.monotonic() - started:5.2f} s  {words}")

    with signals_raise():
        made = cluster.up(spec, manifests=manifests, with_proxy=not no_proxy, report=report)
    click.echo()
    _print_status(name)
    if spec.is_cluster:
        _say_how_to_use(made)
        return
    click.echo(
        f"\nManifests: {made.manifests_dir}  (put a Service here and watch what happens)"
        f"\nLogs:      {made.state_dir / 'logs'}"
        f"\nTry:       netproxy lab exec --lab {name} node-1 -- nft list ruleset"
        f"\n           netproxy lab exec --lab {name} client  (a shell outside the cluster)"
        f"\nEnd it:    netproxy lab down --name {name}"
    )


def _say_how_to_use(made: Lab) -> None:
    from netproxy.lab import hosted

    name = made.topology.spec.name
    inside = f"netproxy lab exec --lab {name}"
    click.echo(
        f"\nAPI:    KUBECONFIG={hosted.admin_config(made)}"
        f"\nLogs:   {made.state_dir / 'logs'}"
        f"\nTry:    {inside} node-1 -- kubectl get pods -A"
        f"\n        {inside} node-1 -- nft list ruleset"
        f"\n        {inside} client  (a shell outside the cluster)"
        f"\nEnd it: netproxy lab down --name {name}"
    )


@lab.command()
@_name_option
@click.option("--all", "is_all", is_flag=True, help="Every lab on this machine.")
def down(name: str, is_all: bool) -> None:
    """Remove a lab, also one whose `up` was killed."""
    from netproxy.lab import cluster, rootless

    rootless.require_namespaces()
    for each in cluster.list_labs() if is_all else [name]:
        removed = cluster.down(each)
        if removed:
            click.echo(f"lab {each!r}: removed {len(removed)} namespaces")
        else:
            click.echo(f"lab {each!r}: nothing there")


@lab.command()
@click.option(
    "--port",
    "ports",
    multiple=True,
    type=click.IntRange(1, 65535),
    default=(80,),
    show_default=True,
    help="Where to answer; TCP, UDP and SCTP. Repeatable.",
)
@click.option("--as", "identity", help="The name to answer with.  [default: the hostname]")
def echo(ports: tuple[int, ...], identity: str | None) -> None:
    """Answer every connection with a name: a command for Pods that want to be told apart."""
    import socket

    from netproxy.lab import process

    command = process.echo_command(identity or socket.gethostname(), ports)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - our own program


@lab.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.option("--lab", "name", default="lab", show_default=True, help="Name of the lab.")
@click.argument("member")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def exec_(name: str, member: str, command: tuple[str, ...]) -> None:
    """Run a command in a node, pod or host; a shell without one.

    Its exit code is passed on. Put -- before a command that has options of its own, as in:
    netproxy lab exec client -- curl -s http://203.0.113.10
    """
    from netproxy.lab import cluster, process

    space = _find_namespace(name, member)
    config = cluster.labs_dir() / name / "node-1" / "admin.conf"
    if config.exists():
        os.environ["KUBECONFIG"] = str(config)  # kubectl finds the lab's API, from any node
    sys.stdout.flush()
    process.replace_self(space, command or (os.environ.get("SHELL", "/bin/sh"),))


@lab.command()
@click.option("--name", "--lab", "name", help="Name of the lab.  [default: all labs]")
@click.option("-o", "output", type=click.Choice(["text", "json"]), default="text")
def status(name: str | None, output: str) -> None:
    """Show namespaces, addresses, processes, and whether the nodes have rules."""
    if output == "json":
        rows = [{**each._asdict(), "role": each.role.value} for each in _read_members(name)]
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_status(name)


def _spec(
    *,
    name: str,
    nodes: int,
    pods: int,
    hosts: tuple[str, ...],
    families: str,
    ports: tuple[int, ...],
) -> LabSpec:
    from netproxy.lab.topology import LabSpec, default_pods
    from netproxy.model.ip import Family

    chosen = {
        "ipv4": (Family.IPV4,),
        "ipv6": (Family.IPV6,),
        "dual": (Family.IPV4, Family.IPV6),
    }[families]
    every = default_pods(nodes=nodes, per_node=pods)
    if ports:
        return LabSpec(
            name=name, nodes=nodes, pods=every, hosts=hosts, families=chosen, echo_ports=ports
        )
    return LabSpec(name=name, nodes=nodes, pods=every, hosts=hosts, families=chosen)


def _find_namespace(lab_name: str, member: str) -> str:
    """The namespace of a member, by the name people use."""
    from netproxy.errors import ConfigError
    from netproxy.lab import census
    from netproxy.lab.names import parse_namespace_name

    known = []
    for name in census.list_names(lab_name):
        parts = parse_namespace_name(name)
        if parts is not None:
            if member in (parts.member, name):
                return name
            known.append(parts.member)
    if not known:
        raise ConfigError(
            setting=f"lab {lab_name!r}",
            problem="does not exist",
            hint=f"netproxy lab up --name {lab_name}",
        )
    raise ConfigError(
        setting=repr(member),
        problem=f"not in lab {lab_name!r}",
        hint=f"there are {', '.join(known)}",
    )


def _read_members(name: str | None) -> list[Member]:
    """What there is of one lab, or of all."""
    from netproxy.errors import ConfigError
    from netproxy.lab import status as kernel_status
    from netproxy.lab.names import check_lab_name

    members = kernel_status.read_members(check_lab_name(name) if name else None)
    if name and not members:
        raise ConfigError(
            setting=f"lab {name!r}", problem="does not exist", hint=f"netproxy lab up --name {name}"
        )
    return members


def _print_status(name: str | None) -> None:
    members = _read_members(name)
    if not members:
        click.echo("No lab is up. Bring one up with: netproxy lab up")
        return
    rows = [_status_row(each) for each in members]
    columns = ("LAB", "NAME", "ROLE", "ADDRESSES", "RUNS", "RULES", "NAMESPACE")
    if sys.stdout.isatty():
        _print_rich_table(columns, rows)
    else:
        _print_plain_table(columns, rows)


def _status_row(member: Member) -> tuple[str, ...]:
    is_node = member.role.value == "node"
    rules = (", ".join(member.tables) or "none") if is_node else "-"
    runs = [_program(line) for line in member.processes]
    return (
        member.lab,
        member.name,
        member.role.value,
        " ".join(member.addresses) or "-",
        ", ".join(runs) or "-",
        rules,
        member.namespace,
    )


def _program(command_line: str) -> str:
    """``4711 python -m netproxy run ...`` as ``netproxy run (4711)``."""
    pid, _, command = command_line.partition(" ")
    words = command.split(" ")
    if "-m" in words:
        words = words[words.index("-m") + 1 :]
        return f"{' '.join(words[:2])} ({pid})"
    scripts = [word for word in words if word.endswith(".py")]
    return f"{Path(scripts[0] if scripts else words[0]).stem} ({pid})"


def _print_plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    for row in [columns, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in columns[:-1]:  # the namespace's name follows from lab, role and name
        table.add_column(column, overflow="fold")
    for row in rows:
        is_missing = row[5] == "none" or (row[4] == "-" and row[2] == "pod")
        style = "red" if is_missing else ""
        cells = [cell.replace(" ", "\n") if index == 3 else cell for index, cell in enumerate(row)]
        table.add_row(*cells[:-1], style=style)
    Console().print(table)
