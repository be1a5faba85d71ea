"""Build a lab's namespaces, links, addresses and routes in the kernel, with pyroute2.

Rule 1: an interpreter of ``topology``; it decides nothing.
Rule 2: one thread does it all and dies afterwards, because it changes namespace all the time.
Rule 3: nothing is ever created in the caller's own network namespace: each veth pair is made
inside, its other end born directly in the other namespace.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.lab import namespace as kernel
from netproxy.lab.names import Role
from netproxy.lab.topology import (
    BRIDGE,
    UPLINK,
    Namespace,
    Route,
    Sysctl,
    Topology,
    Uplink,
)
from netproxy.model.ip import Family, Prefix

_IFA_F_NODAD = 0x02
_LOOPBACK_INDEX = 1


def build_namespaces(topology: Topology, *, report: Callable[[Namespace], None]) -> None:
    """Make everything that the topology describes.

    On an error what exists so far stays; the caller removes it.

    Args:
        topology: What to make.
        report: Called from another thread after each namespace that is complete.

    Raises:
        DataplaneError: the kernel refused; names the namespace and the object.
        UnsupportedError: this user, or this kernel, cannot do it.
    """
    kernel.run_in_thread(lambda: _Builder(topology).build(report))


class _Builder:
    """The sockets of one build: one per namespace that others are still to be plugged into."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._sockets: dict[str, Any] = {}
        self._interfaces: dict[str, dict[str, int]] = {}

    def build(self, report: Callable[[Namespace], None]) -> None:
        try:
            for each in self._topology.namespaces:
                self._build_one(each)
                report(each)
        finally:
            for socket in self._sockets.values():
                socket.close()

    def _build_one(self, space: Namespace) -> None:
        self._make_namespace(space.name)
        self._interfaces[space.name] = {"lo": _LOOPBACK_INDEX}
        for sysctl in space.sysctls:
            _write_sysctl(sysctl, space.name)
        socket = self._sockets[space.name] = IPRoute()
        self._try(space.name, "lo", lambda: socket.link("set", index=_LOOPBACK_INDEX, state="up"))
        if space.role is Role.BACKBONE:
            self._make_bridge(space)
        if space.uplink is not None:
            self._plug_in(space.name, space.uplink)
        for route in space.routes:
            self._add_route(space.name, route)
        if space.role not in (Role.BACKBONE, Role.NODE):
            self._sockets.pop(space.name).close()

    def _make_namespace(self, name: str) -> None:
        """A new namespace with a name. This thread stays inside it."""
        kernel.unshare_network()
        try:
            netns.attach(str(kernel.NETNS_DIR / name), threading.get_native_id())
        except OSError as error:
            raise DataplaneError(
                operation="create", subject=f"namespace {name}", errno=error.errno or errno.EIO
            ) from error

    def _make_bridge(self, space: Namespace) -> None:
        socket = self._sockets[space.name]
        self._try(
            space.name, BRIDGE, lambda: socket.link("add", ifname=BRIDGE, kind="bridge", state="up")
        )
        for prefix in space.bridge_addresses:
            self._add_address(space.name, BRIDGE, prefix)

    def _plug_in(self, name: str, uplink: Uplink) -> None:
        """The veth pair: this end ``eth0``, the other end born in the parent's namespace."""
        socket = self._sockets[name]
        descriptor = os.open(kernel.NETNS_DIR / uplink.parent, os.O_RDONLY | os.O_CLOEXEC)
        peer = {"ifname": uplink.parent_interface, "net_ns_fd": descriptor}
        try:
            self._try(
                name, UPLINK, lambda: socket.link("add", ifname=UPLINK, kind="veth", peer=peer)
            )
        finally:
            os.close(descriptor)
        self._configure_parent(uplink)
        index = self._index(name, UPLINK)
        self._try(name, UPLINK, lambda: socket.link("set", index=index, state="up"))
        for prefix in uplink.addresses:
            self._add_address(name, UPLINK, prefix)

    def _configure_parent(self, uplink: Uplink) -> None:
        parent, interface = uplink.parent, uplink.parent_interface
        socket = self._sockets[parent]
        index = self._index(parent, interface)
        options = {"master": self._index(parent, uplink.bridge)} if uplink.bridge else {}
        self._try(parent, interface, lambda: socket.link("set", index=index, state="up", **options))
        for prefix in uplink.parent_addresses:
            self._add_address(parent, interface, prefix)
        for route in uplink.parent_routes:
            self._add_route(parent, route)
        if uplink.parent_sysctls:
            here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                kernel.enter(parent)
                for sysctl in uplink.parent_sysctls:
                    _write_sysctl(sysctl, parent)
            finally:
                netns.setns(here)
                os.close(here)

    def _add_address(self, name: str, interface: str, prefix: Prefix) -> None:
        socket, index = self._sockets[name], self._index(name, interface)
        options: dict[str, Any] = {"address": prefix.address, "prefixlen": prefix.length}
        if prefix.family is Family.IPV6:
            options["flags"] = _IFA_F_NODAD
        self._try(name, f"address {prefix}", lambda: socket.addr("add", index=index, **options))

    def _add_route(self, name: str, route: Route) -> None:
        socket = self._sockets[name]
        options: dict[str, Any] = {"dst": route.destination}
        if route.gateway:
            options["gateway"] = route.gateway
        if route.interface:
            options["oif"] = self._index(name, route.interface)
        if not route.gateway and not route.interface:
            options["type"] = "unreachable"
        if route.interface and not route.gateway and ":" not in route.destination:
            options["scope"] = "link"  # a gateway is only taken from such a route
        self._try(name, f"route {route.destination}", lambda: socket.route("add", **options))

    def _index(self, name: str, interface: str) -> int:
        known = self._interfaces[name]
        if interface not in known:
            found = self._sockets[name].link_lookup(ifname=interface)
            if not found:
                raise DataplaneError(
                    operation="find", subject=f"{interface} in {name}", errno=errno.ENODEV
                )
            known[interface] = found[0]
        return known[interface]

    def _try(self, name: str, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except NetlinkError as error:
            if error.code == errno.EOPNOTSUPP:
                raise UnsupportedError(
                    f"this kernel cannot make {what} in {name}", hint="try: modprobe -a veth bridge"
                ) from error
            raise DataplaneError(
                operation="add", subject=f"{what} in {name}", errno=error.code or errno.EIO
            ) from error


def _write_sysctl(sysctl: Sysctl, name: str) -> None:
    """Of the namespace this thread is in. A kernel without IPv6 lacks half of the files."""
    path = Path("/proc/sys/net", sysctl.path)
    try:
        path.write_text(sysctl.value)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UnsupportedError(
            f"cannot write {path} in {name}: {error.strerror}",
            hint="a lab needs a writable /proc/sys, which many containers do not have",
        ) from error
