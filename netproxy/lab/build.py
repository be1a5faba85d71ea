"""Build a lab's namespaces, links, addresses and routes in the kernel.

Rule 1: an interpreter of ``topology``; it decides nothing.
Rule 2: one thread does it all and dies afterwards, because it changes namespace all the time.
Rule 3: nothing is ever created in the caller's own network namespace: each veth pair is made
inside, its other end born directly in the other namespace.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from netproxy.lab.names import Role
from netproxy.lab.topology import (
    BRIDGE,
    UPLINK,
    Namespace,
    Route,
    Topology,
    Uplink,
)
from netproxy.model.ip import parse_address, parse_prefix
from netproxy.netns import namespace, wiring
from netproxy.netns.wiring import RouteEntry, Wiring


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
    namespace.run_in_thread(lambda: _Builder(topology).build(report))


class _Builder:
    """The wires of one build: of each namespace that others are still to be plugged into."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._wirings: dict[str, Wiring] = {}

    def build(self, report: Callable[[Namespace], None]) -> None:
        try:
            for each in self._topology.namespaces:
                self._build_one(each)
                report(each)
        finally:
            for each_wiring in self._wirings.values():
                each_wiring.close()

    def _build_one(self, space: Namespace) -> None:
        wiring.make_namespace(space.name)
        for sysctl in space.sysctls:
            wiring.write_sysctl(sysctl.path, sysctl.value, space.name)
        here = self._wirings[space.name] = Wiring(space.name)
        here.set_up("lo")
        if space.role is Role.BACKBONE:
            here.add_bridge(BRIDGE)
            for prefix in space.bridge_addresses:
                here.add_address(BRIDGE, prefix)
        if space.uplink is not None:
            self._plug_in(here, space.uplink)
        for route in space.routes:
            _add_route(here, route)
        if space.role not in (Role.BACKBONE, Role.NODE):
            self._wirings.pop(space.name).close()

    def _plug_in(self, here: Wiring, uplink: Uplink) -> None:
        """The veth pair: this end ``eth0``, the other end born in the parent's namespace."""
        descriptor = wiring.open_namespace(uplink.parent)
        try:
            here.add_veth(UPLINK, uplink.parent_interface, descriptor)
        finally:
            os.close(descriptor)
        self._configure_parent(uplink)
        here.set_up(UPLINK)
        for prefix in uplink.addresses:
            here.add_address(UPLINK, prefix)

    def _configure_parent(self, uplink: Uplink) -> None:
        parent, interface = self._wirings[uplink.parent], uplink.parent_interface
        options = {"master": parent.index(uplink.bridge)} if uplink.bridge else {}
        parent.set_up(interface, **options)
        for prefix in uplink.parent_addresses:
            parent.add_address(interface, prefix)
        for route in uplink.parent_routes:
            _add_route(parent, route)
        if uplink.parent_sysctls:
            here = wiring.open_namespace()
            try:
                namespace.enter(uplink.parent)
                for sysctl in uplink.parent_sysctls:
                    wiring.write_sysctl(sysctl.path, sysctl.value, uplink.parent)
            finally:
                namespace.enter_descriptor(here, "the namespace of this thread")
                os.close(here)


def _add_route(here: Wiring, route: Route) -> None:
    entry = RouteEntry(
        parse_prefix(route.destination),
        parse_address(route.gateway) if route.gateway else None,
        route.interface or None,
    )
    here.put_route(entry, is_new=True)
