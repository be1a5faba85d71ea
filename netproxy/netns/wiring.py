"""Links, addresses, routes and neighbours of one network namespace, and how one is made.

Rule 1: whoever calls decides; nothing here knows what a pod or a lab is.
Rule 2: nothing passes through the caller's namespace: the far end of a veth pair is born in the
namespace where it belongs.
Rule 3: what the kernel refuses is a ``DataplaneError`` that names the object and the namespace.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.model.ip import Family, IPAddress, Prefix, parse_address
from netproxy.netns import namespace

_IFA_F_NODAD = 0x02
_LOOPBACK_INDEX = 1
_NUD_PERMANENT = 0x80
_SCOPE_LINK = 253
_AF: dict[Family, int] = {Family.IPV4: 2, Family.IPV6: 10}
_T = TypeVar("_T")


class Link(NamedTuple):
    """An interface."""

    number: int
    name: str
    alias: str
    """What its maker wrote on it; empty: nothing."""


class RouteEntry(NamedTuple):
    """A route of the main table."""

    destination: Prefix
    gateway: IPAddress | None = None
    interface: str | None = None
    """None, and no gateway: packets are answered with "unreachable"."""


def make_namespace(name: str) -> None:
    """A new network namespace with a name. The calling *thread* stays inside it.

    Raises:
        DataplaneError: the name is taken, or the kernel refused.
        UnsupportedError: this user may not make one.
    """
    namespace.unshare_network()
    try:
        netns.attach(str(namespace.NETNS_DIR / name), threading.get_native_id())
    except OSError as error:
        raise DataplaneError(
            operation="create", subject=f"namespace {name}", errno=error.errno or errno.EIO
        ) from error


def open_namespace(name: str = "") -> int:
    """A descriptor of a named namespace, or of the calling thread's own.

    Raises:
        DataplaneError: there is none of that name.
    """
    path = namespace.NETNS_DIR / name if name else Path("/proc/thread-self/ns/net")
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DataplaneError(
            operation="open", subject=f"namespace {name}", errno=error.errno or errno.EIO
        ) from error


def write_sysctl(path: str, value: str, name: str) -> None:
    """Write a setting such as ``ipv4/ip_forward`` of the namespace this thread is in.

    A kernel without IPv6 lacks half of the files: then nothing is done.

    Raises:
        UnsupportedError: it cannot be written.
    """
    try:
        Path("/proc/sys/net", path).write_text(value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnsupportedError(
            f"cannot write /proc/sys/net/{path} in {name}: {error.strerror}",
            hint="namespaces need a writable /proc/sys, which many containers do not have",
        ) from error


class Wiring:
    """The wires of the namespace in which the calling thread is now.

    To be used by that thread alone, which may be elsewhere later: pyroute2 opens a socket for each
    thread, in whatever namespace that is.

    Args:
        name: Of the namespace, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket: Any = IPRoute()
        self._indexes = {"lo": _LOOPBACK_INDEX}

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def set_up(self, interface: str, **options: Any) -> None:
        """Switch an interface on; options as of ``ip link set``: ``master``, ``ifalias``."""
        index = self.index(interface)
        self._try(interface, lambda: self._socket.link("set", index=index, state="up", **options))

    def add_bridge(self, interface: str) -> None:
        """A bridge that is on."""
        self._try(
            interface, lambda: self._socket.link("add", ifname=interface, kind="bridge", state="up")
        )

    def add_veth(
        self, interface: str, peer: str, peer_namespace: int, *, mac: str = "", peer_mac: str = ""
    ) -> None:
        """A cable from here to another namespace; both ends are off.

        Args:
            interface: This end.
            peer: The other end.
            peer_namespace: A descriptor of the namespace where the other end is.
            mac: Address of this end; empty: the kernel's choice.
            peer_mac: Address of the other end.
        """
        far = {"ifname": peer, "net_ns_fd": peer_namespace}
        far |= {"address": peer_mac} if peer_mac else {}
        near = {"address": mac} if mac else {}
        self._try(
            interface,
            lambda: self._socket.link("add", ifname=interface, kind="veth", peer=far, **near),
        )

    def delete_link(self, interface: str) -> None:
        """Remove an interface, and the other end of its cable; nothing if there is none."""
        found = self._find(interface)
        self._indexes.pop(interface, None)
        if found is not None:
            self._try(
                interface, lambda: self._socket.link("del", index=found), missing_is_fine=True
            )

    def add_address(self, interface: str, prefix: Prefix) -> None:
        """An address that is in use at once: IPv6 does not look for duplicates first."""
        index = self.index(interface)
        options: dict[str, Any] = {"address": prefix.address, "prefixlen": prefix.length}
        if prefix.family is Family.IPV6:
            options["flags"] = _IFA_F_NODAD
        self._try(f"address {prefix}", lambda: self._socket.addr("add", index=index, **options))

    def add_neighbour(self, interface: str, address: IPAddress, mac: str) -> None:
        """Who has an address on a cable, for good: nobody needs to ask."""
        index = self.index(interface)
        self._try(
            f"neighbour {address}",
            lambda: self._socket.neigh(
                "replace", dst=address, lladdr=mac, ifindex=index, state=_NUD_PERMANENT
            ),
        )

    def put_route(
        self, route: RouteEntry, *, protocol: int = 0, on_link: bool = False, is_new: bool = False
    ) -> None:
        """Add a route, or replace the one to the same destination.

        Args:
            route: What leads where.
            protocol: Who made it (``rtm_protocol``); 0: pyroute2's default, "static".
            on_link: The gateway is at the other end of the interface, whatever the addresses say.
            is_new: Refuse to replace.
        """
        options: dict[str, Any] = {"dst": str(route.destination)}
        if protocol:
            options["proto"] = protocol
        if route.gateway:
            options["gateway"] = route.gateway
        if on_link:
            options["flags"] = ["onlink"]
        if route.interface:
            options["oif"] = self.index(route.interface)
        if not route.gateway and not route.interface:
            options["type"] = "unreachable"
        if route.interface and not route.gateway and route.destination.family is Family.IPV4:
            options["scope"] = _SCOPE_LINK  # a gateway is only taken from such a route
        verb = "add" if is_new else "replace"
        self._try(f"route {route.destination}", lambda: self._socket.route(verb, **options))

    def delete_route(self, route: RouteEntry, *, protocol: int) -> None:
        """Remove a route that has this protocol; nothing if there is none."""
        options: dict[str, Any] = {"dst": str(route.destination), "proto": protocol}
        if not route.gateway and not route.interface:
            options["type"] = "unreachable"
        self._try(
            f"route {route.destination}",
            lambda: self._socket.route("del", **options),
            missing_is_fine=True,
        )

    def links(self) -> list[Link]:
        """All interfaces."""
        dump = self._try("links", lambda: list(self._socket.get_links()))
        return [
            Link(each["index"], each.get("ifname", ""), each.get("ifalias") or "") for each in dump
        ]

    def routes(self, protocol: int) -> list[RouteEntry]:
        """The routes that somebody made, in both families."""
        names = {each.number: each.name for each in self.links()}
        found: list[RouteEntry] = []
        for family, number in _AF.items():
            dump = self._try(
                "routes",
                lambda number=number: list(  # type: ignore[misc]
                    self._socket.get_routes(family=number, proto=protocol)
                ),
            )
            found += _entries(dump, family, names)
        return found

    def index(self, interface: str) -> int:
        """The number of an interface.

        Raises:
            DataplaneError: there is none of that name.
        """
        if interface not in self._indexes:
            found = self._find(interface)
            if found is None:
                raise DataplaneError(
                    operation="find", subject=f"{interface} in {self.name}", errno=errno.ENODEV
                )
            self._indexes[interface] = found
        return self._indexes[interface]

    def _find(self, interface: str) -> int | None:
        found: list[int] = self._socket.link_lookup(ifname=interface)
        return found[0] if found else None

    def _try(self, what: str, call: Callable[[], _T], *, missing_is_fine: bool = False) -> _T | Any:
        try:
            return call()
        except NetlinkError as error:
            if missing_is_fine and error.code in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
                return None
            if error.code == errno.EOPNOTSUPP:
                raise UnsupportedError(
                    f"this kernel cannot make {what} in {self.name}",
                    hint="try: modprobe -a veth bridge",
                ) from error
            raise DataplaneError(
                operation="change", subject=f"{what} in {self.name}", errno=error.code or errno.EIO
            ) from error


def _entries(dump: list[Any], family: Family, names: dict[int, str]) -> Iterator[RouteEntry]:
    for each in dump:
        gateway, oif = each.get("gateway"), each.get("oif")
        is_unreachable = each.get("type") not in (1, "unicast")
        yield RouteEntry(
            Prefix(parse_address(each.get("dst") or _any(family)), each["dst_len"]),
            parse_address(gateway) if gateway else None,
            None if is_unreachable or oif is None else names.get(oif, ""),
        )


def _any(family: Family) -> str:
    return "0.0.0.0" if family is Family.IPV4 else "::"  # noqa: S104 - a prefix, not a listener
