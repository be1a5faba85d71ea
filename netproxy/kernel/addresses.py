"""This node's own addresses, read from the kernel over rtnetlink.

Own code for one small dump: pyroute2, which the lab uses, takes 0.4 s and 35 MB to import, more
than the whole proxy.
"""

from __future__ import annotations

import errno
import socket
import struct
from pathlib import Path

from netproxy.core.surroundings import Addresses
from netproxy.kernel import sysctl
from netproxy.model.ip import Family, IPAddress, Prefix, unpack_address
from netproxy.nft import attributes as nl

_RTM_NEWLINK, _RTM_GETLINK = 16, 18
_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_RTMGRP_LINKS, _RTMGRP_ADDRESSES, _RTMGRP_ROUTES = 0x1, 0x10 | 0x100, 0x40 | 0x400
"""Source: linux/rtnetlink.h; addresses and routes of IPv4 and IPv6."""
_NLM_F_REQUEST, _NLM_F_REQUEST_DUMP = 0x1, 0x301
_IFINFOMSG = struct.Struct("=BxHiII")
_IFF_UP = 0x1
_NEWBORN = 0xFFFFFFFF  # ifi_change of a link that has just been made
_LOOPBACK_INDEX = 1
_RTMSG_BYTES, _RTA_DST = 12, 1
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_SCOPE_UNIVERSE, _SCOPE_HOST = 0, 254
_NLMSG = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_FAMILIES: dict[int, Family] = {number: family for family, number in _AF.items()}
_SOMEWHERE = {Family.IPV4: ("192.0.2.1", 9), Family.IPV6: ("2001:db8::1", 9)}
"""Documentation addresses; nothing is sent to them."""


def has_family(family: Family) -> bool:
    """Whether this kernel speaks the family; booted with ``ipv6.disable=1`` it has no IPv6.

    Source: Documentation/networking/ipv6.rst; the same test as in kube-proxy 1.36.
    """
    return family is Family.IPV4 or Path("/proc/net/if_inet6").exists()


def why_without(family: Family) -> str:
    """Why nobody speaks the family in this network namespace; empty when they do.

    Rules can be there all the same, if there were times when it was spoken.
    Source: as ``has_family``.
    """
    if not has_family(family):
        return "the kernel has none: built or booted without it (ipv6.disable=1)"
    if family is Family.IPV6 and sysctl.read("net/ipv6/conf/all/disable_ipv6") == "1":
        return "switched off by net.ipv6.conf.all.disable_ipv6=1"
    return ""


def local_addresses(family: Family) -> list[IPAddress]:
    """All addresses of all interfaces in this namespace, loopback's included."""
    return [address for address, _ in _dump(family)]


def primary_address(family: Family) -> IPAddress | None:
    """The address from which this node speaks to the world; None when it has none.

    It is the source address that the kernel would choose towards the default route; on a node
    without one, the first address of global scope. With a way but no address to go with, the
    kernel offers 0.0.0.0 or ::1.
    """
    scopes = dict(_dump(family))
    chosen = _way_out(family)
    if chosen is not None and scopes.get(chosen, _SCOPE_HOST) != _SCOPE_HOST:
        return chosen
    return next((a for a, scope in scopes.items() if scope == _SCOPE_UNIVERSE), None)


def _way_out(family: Family) -> IPAddress | None:
    """The source address towards the world, if there is a way."""
    with socket.socket(_AF[family], socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE[family])  # a datagram socket: sets the route, sends nothing
        except OSError:
            return None
        return IPAddress(probe.getsockname()[0])


def read_addresses(family: Family) -> Addresses:
    """Both of the above, as a Proxier asks for them."""
    _let_changes_finish()
    return Addresses(tuple(local_addresses(family)), primary_address(family))


def _let_changes_finish() -> None:
    """The kernel tells of a link that goes down before it takes its routes away, under a lock.

    A question about a single link waits for this lock, and so for the routes to be gone.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        body = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, _LOOPBACK_INDEX, 0, 0)
        netlink.send(_NLMSG.pack(16 + len(body), _RTM_GETLINK, _NLM_F_REQUEST, 1, 0) + body)
        netlink.recv(1 << 16)


class AddressListener:
    """Hears that addresses of this namespace come and go, or the way to the world changes.

    Not heard: changes of policy routing (``ip rule``), and what does not change a route.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_LINKS | _RTMGRP_ADDRESSES | _RTMGRP_ROUTES))

    def fileno(self) -> int:
        """For the event loop: readable when something changed."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take in what was heard; True when it is worth to look at the addresses again."""
        has_changed = False
        while True:
            try:
                buffer = self._socket.recv(1 << 16)
            except BlockingIOError:
                return has_changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                has_changed = True  # too much to tell: look
                continue
            has_changed = has_changed or _concerns_addresses(buffer)

    def close(self) -> None:
        self._socket.close()


def _concerns_addresses(buffer: bytes) -> bool:
    """Whether it tells of an address, or of the way to the world; pods' routes come and go."""
    offset = 0
    while offset < len(buffer):
        length, kind, _, _, _ = _NLMSG.unpack_from(buffer, offset)
        if kind in (_RTM_NEWADDR, _RTM_DELADDR):
            return True
        body = buffer[offset + _NLMSG.size : offset + length]
        if kind in (_RTM_NEWROUTE, _RTM_DELROUTE) and _leads_somewhere(body):
            return True
        if kind == _RTM_NEWLINK and _goes_down(body):
            return True
        offset += (length + 3) & ~3
    return False


def _leads_somewhere(route: bytes) -> bool:
    """Whether it is a way to the world, be it the default route or a narrower one."""
    number, length = route[0], route[1]
    family = _FAMILIES.get(number)
    if family is None or length == 0:
        return family is not None
    destination = nl.read(route, _RTMSG_BYTES).get(_RTA_DST)
    if destination is None:
        return False
    network = Prefix(unpack_address(destination), length)
    return network.contains(IPAddress(_SOMEWHERE[family][0]))


def _goes_down(link: bytes) -> bool:
    """Whether a link was taken down: IPv4 routes over it are gone, and nothing else tells."""
    _, _, _, flags, changed = _IFINFOMSG.unpack_from(link)
    return changed != _NEWBORN and bool(changed & _IFF_UP) and not flags & _IFF_UP


def _dump(family: Family) -> list[tuple[IPAddress, int]]:
    """(address, scope) of every address of the family."""
    found: list[tuple[IPAddress, int]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        body = _IFADDRMSG.pack(_AF[family], 0, 0, 0, 0)
        header = _NLMSG.pack(16 + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0)
        netlink.send(header + body)
        while True:
            buffer = netlink.recv(1 << 16)
            offset = 0
            while offset < len(buffer):
                length, kind, _, _, _ = _NLMSG.unpack_from(buffer, offset)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return found
                if kind == _RTM_NEWADDR:
                    number, _, _, scope, _ = _IFADDRMSG.unpack_from(buffer, offset + 16)
                    fields = nl.read(buffer[offset : offset + length], 24)
                    packed = fields.get(_IFA_LOCAL) or fields.get(_IFA_ADDRESS)
                    if packed and number == _AF[family]:
                        found.append((unpack_address(packed), scope))
                offset += (length + 3) & ~3
