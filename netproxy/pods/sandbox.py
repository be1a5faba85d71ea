"""The network of a Pod: a namespace with one cable to its host, and what is remembered of it.

The packet's story: in the Pod everything leaves by ``eth0`` to 169.254.1.1 or fe80::1. Nobody has
these addresses; a permanent neighbour entry says that they are at the host's end of the cable. The
host has one route for each Pod's address, into its cable. So no Pod hears another's broadcasts, all
packets pass the host's rules, and Services work for them.

Rule 1: what will be made is written down first: the next agent finds what this one left half done.
Rule 2: pyroute2's sockets belong to a thread; everything here runs in one thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.model.ip import Family, IPAddress, Prefix, parse_address, parse_prefix
from netproxy.netns import namespace, wiring
from netproxy.netns.wiring import RouteEntry, Wiring
from netproxy.pods.core.addresses import next_address
from netproxy.pods.core.model import Sandbox

FILE = "sandbox.json"
INSIDE = "eth0"
PROTOCOL = 111
"""Of our routes to Pods (``rtm_protocol``); free in iproute2's rt_protos."""
_HOST_MAC = "ee:ee:ee:ee:ee:ee"
"""Of the host's end of every cable: each is a wire of its own."""
_GATEWAYS = {Family.IPV4: IPAddress("169.254.1.1"), Family.IPV6: IPAddress("fe80::1")}
_EVERYWHERE = {Family.IPV4: parse_prefix("0.0.0.0/0"), Family.IPV6: parse_prefix("::/0")}
_SYSCTLS = {
    # Inside its own network a Pod may listen wherever it likes, and ping, whoever it runs as.
    "ipv4/ip_unprivileged_port_start": "0",
    "ipv4/ping_group_range": "0 2147483647",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
}
_LONGEST_NAME = 200


class Record(NamedTuple):
    """What is written down about a sandbox."""

    number: int
    namespace: str
    """Name under ``/run/netns``; empty: it is the host's network."""
    interface: str
    addresses: tuple[str, ...]
    boot: str
    """Which boot of the host it was made in."""

    @property
    def sandbox(self) -> Sandbox:
        return Sandbox(self.number, self.addresses)


def read_record(directory: Path) -> Record | None:
    """What is written down about a Pod's sandbox; None: nothing, or nothing that makes sense."""
    try:
        found = json.loads((directory / FILE).read_bytes())
        return Record(**{**found, "addresses": tuple(found["addresses"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_record(directory: Path, record: Record) -> None:
    """Write down what is so now."""
    _write(directory / FILE, record)


def boot_id() -> str:
    """Which boot of the host this is; another one after each."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def share_host(number: int, directory: Path) -> Record:
    """Write down that a Pod is on its host's network."""
    record = Record(number, "", "", (), boot_id())
    _write(directory / FILE, record)
    return record


def network_path(record: Record) -> str:
    """Of the namespace, for who wants to enter it; empty: the host's."""
    return str(namespace.NETNS_DIR / record.namespace) if record.namespace else ""


def exists(record: Record) -> bool:
    """Whether the network is there: not after a reboot, nor if somebody took it away."""
    if record.boot != boot_id():
        return False
    if not record.namespace:
        return True
    path = namespace.NETNS_DIR / record.namespace
    try:
        # A name without a namespace is an empty file of /run.
        return path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


class Sandboxes:
    """Makes and removes the sandboxes of one node, in the host's network namespace.

    Args:
        prefix: Of the names under ``/run/netns``.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._host = Wiring("this host")
        self._taken: dict[IPAddress, str] = {}
        self._last: dict[Prefix, IPAddress] = {}

    def close(self) -> None:
        """Let go of the kernel; sandboxes stay."""
        self._host.close()

    def adopt(self, uid: str, record: Record) -> None:
        """Its addresses are taken: it was made by a former agent."""
        if record.namespace:
            self._take(uid, record.addresses)

    def _take(self, uid: str, addresses: Iterable[str]) -> None:
        self._taken |= {IPAddress(each): uid for each in addresses}

    def make(self, pod: Object, number: int, prefixes: Sequence[Prefix], directory: Path) -> Record:
        """A new sandbox; what was half made before is removed.

        Args:
            pod: Whose.
            number: How many it has had.
            prefixes: The node's: one, or one of each IP family.
            directory: Where it is written down.

        Raises:
            DataplaneError: the kernel refused, or there is no address left.
            UnsupportedError: this host cannot do it.
        """
        uid = pod["metadata"]["uid"]
        former = read_record(directory)
        if former is not None:
            self.remove(uid, former)
        name, interface = self._name(pod), _interface(uid)
        addresses = tuple(self._choose(prefix) for prefix in prefixes)
        record = Record(number, name, interface, addresses, boot_id())
        self._take(uid, addresses)
        _write(directory / FILE, record)
        try:
            self._wire(record, pod)
        except Exception:
            self.remove(uid, record)
            raise
        return record

    def remove(self, uid: str, record: Record) -> None:
        """Take it away, with whatever still runs in it. Harmless when repeated.

        Raises:
            DataplaneError: the kernel refused.
            UnsupportedError: this user may not do it.
        """
        if not record.namespace:
            return
        # The cable first: with it the routes go at once, and not when the kernel gets round to it.
        self._host.delete_link(record.interface)
        namespace.remove([record.namespace])
        for each in record.addresses:
            if self._taken.get(IPAddress(each)) == uid:
                del self._taken[IPAddress(each)]

    def _name(self, pod: Object) -> str:
        metadata = pod["metadata"]
        name = metadata["name"]
        if metadata["namespace"] != "default":
            name = f"{metadata['namespace']}_{name}"
        if len(name) > _LONGEST_NAME:
            name = name[:_LONGEST_NAME] + "_" + _digest(name)
        return self._prefix + str(name)

    def _choose(self, prefix: Prefix) -> IPAddress:
        found = next_address(prefix, self._taken.keys(), self._last.get(prefix))
        if found is None:
            raise DataplaneError(
                operation="find",
                subject=f"a free address in {prefix}",
                errno=28,  # ENOSPC
                hint="the node runs as many Pods as its prefix has addresses",
            )
        self._last[prefix] = found
        return found

    def _wire(self, record: Record, pod: Object) -> None:
        self._host.delete_link(record.interface)
        host = wiring.open_namespace()
        try:
            namespace.run_in_thread(lambda: _furnish(record, host))
        finally:
            os.close(host)
        metadata = pod["metadata"]
        alias = f"netproxy pod {metadata['namespace']}/{metadata['name']}"
        self._host.set_up(record.interface, ifalias=alias[:255])
        for prefix in map(_single, record.addresses):
            self._host.add_neighbour(record.interface, prefix.address, _mac(record.interface))
            route = RouteEntry(prefix, interface=record.interface)
            self._host.put_route(route, protocol=PROTOCOL)


def _furnish(record: Record, host: int) -> None:
    """The namespace, the cable, and the Pod's end of it; in a thread made for it.

    Args:
        record: What to make.
        host: A descriptor of the host's namespace, where the other end is born.
    """
    wiring.make_namespace(record.namespace)
    for path, value in _SYSCTLS.items():
        with contextlib.suppress(UnsupportedError):  # comforts; not all in a user namespace
            wiring.write_sysctl(path, value, record.namespace)
    with Wiring(record.namespace) as inside:
        mac = _mac(record.interface)
        inside.add_veth(INSIDE, record.interface, host, mac=mac, peer_mac=_HOST_MAC)
        inside.set_up("lo")
        inside.set_up(INSIDE)
        for prefix in map(_single, record.addresses):
            gateway = _GATEWAYS[prefix.family]
            inside.add_address(INSIDE, prefix)
            inside.add_neighbour(INSIDE, gateway, _HOST_MAC)
            default = RouteEntry(_EVERYWHERE[prefix.family], gateway, INSIDE)
            inside.put_route(default, on_link=True)


def _write(path: Path, record: Record) -> None:
    """Whole or not at all, and before anything is made."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        file.write(json.dumps(record._asdict()))
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def _single(address: str) -> Prefix:
    parsed = parse_address(address)
    return Prefix(parsed, 128 if ":" in parsed else 32)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _interface(uid: str) -> str:
    """At most 15 characters."""
    return f"pod{_digest(uid)}"


def _mac(interface: str) -> str:
    """Of the Pod's end: local, of one station, and always the same for the same cable."""
    digest = hashlib.sha256(interface.encode()).digest()
    return ":".join(f"{each:02x}" for each in (0x02, *digest[:5]))
