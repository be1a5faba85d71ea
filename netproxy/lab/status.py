"""What a lab looks like right now, read from the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from netproxy.errors import ConfigError, DataplaneError
from netproxy.lab import census
from netproxy.lab.names import Role, parse_namespace_name
from netproxy.lab.topology import BRIDGE, UPLINK
from netproxy.netns import namespace

TABLE = "netproxy"
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}


class Member(NamedTuple):
    """One namespace of a lab."""

    lab: str
    role: Role
    name: str
    """What people call it: ``node-1``."""
    namespace: str
    addresses: tuple[str, ...]
    processes: tuple[str, ...]
    """Command lines of what runs there, by process id."""
    tables: tuple[str, ...]
    """netproxy's tables in this namespace: ``ip netproxy``. Empty on a node: no rules (yet)."""


def read_members(lab: str | None = None) -> list[Member]:
    """Every namespace of one lab, or of all labs; nodes first."""
    names = census.list_names(lab)
    inhabitants = namespace.list_inhabitants(names)
    members = []
    for name in names:
        parts = parse_namespace_name(name)
        if parts is None:
            continue
        processes = (_command_line(pid) for pid in inhabitants.get(name, []))
        members.append(
            Member(
                lab=parts.lab,
                role=parts.role,
                name=parts.member,
                namespace=name,
                addresses=_read(name, _read_addresses_here),
                processes=tuple(line for line in processes if line),
                tables=_read(name, _read_tables_here) if parts.role is Role.NODE else (),
            )
        )
    order = [Role.NODE, Role.POD, Role.CLIENT, Role.HOST, Role.BACKBONE]
    return sorted(members, key=lambda each: (each.lab, order.index(each.role), each.name))


def read_tables(name: str) -> tuple[str, ...]:
    """Our tables in a namespace, as ``nft list tables`` writes them."""
    return namespace.run_inside(name, _read_tables_here)


def _read_tables_here() -> tuple[str, ...]:
    try:
        with NFTables() as socket:
            found = [
                (message["nfgen_family"], message.get_attr("NFTA_TABLE_NAME"))
                for message in socket.get_tables()
            ]
    except NetlinkError:
        return ()  # a kernel without nf_tables has no tables
    return tuple(
        f"{_FAMILIES.get(family, family)} {name}" for family, name in found if name == TABLE
    )


def _read(name: str, read_here: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """What there is; a name without a namespace, as a killed ``up`` may leave it, has nothing."""
    try:
        return namespace.run_inside(name, read_here)
    except (ConfigError, DataplaneError):
        return ()


def _read_addresses_here() -> tuple[str, ...]:
    """Those by which others reach it; a half-built namespace has none."""
    addresses: list[str] = []
    with IPRoute() as socket:
        for interface in (UPLINK, BRIDGE):
            for index in socket.link_lookup(ifname=interface):
                messages: Any = socket.get_addr(index=index)
                addresses += (
                    message.get_attr("IFA_ADDRESS") for message in messages if message["scope"] == 0
                )
    return tuple(addresses)


def _command_line(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return f"{pid} " + b" ".join(words).decode(errors="replace") if words != [b""] else ""
