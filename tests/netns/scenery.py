"""What a stage is made of: links, addresses, settings, and the sockets that look and speak."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netproxy.model.ip import Family, IPAddress, unpack_address
from tests.netns.namespace import IFF_NOARP, IFF_UP, NetworkNamespace
from tests.netns.packets import Sighting, parse_packet, parse_payload

_NODE_MAC = "02:00:00:00:00:{:02x}"
_IFA_F_NODAD = 0x02
_LOOPBACK_INDEX = 1
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_IN6_PKTINFO = struct.Struct("16sI")
_SNAPSHOT = 65535
_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_SETTINGS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
    # Packets of all sources come through one cable, and answers to them never do.
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    # No limit to ICMP errors of any type.
    "net.ipv4.icmp_ratemask": "0",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv6.icmp.ratemask": "",
}


class Interface(NamedTuple):
    """An interface of the node and its addresses, each with its prefix length."""

    name: str
    addresses: tuple[str, ...]


def configure(
    node: NetworkNamespace,
    world: NetworkNamespace,
    interfaces: Sequence[Interface],
    *,
    route_localnet: bool,
) -> None:
    """Lay the node's cables into the world, give it addresses, and let it route."""
    for name, value in _SETTINGS.items():
        node.write_sysctl(name, f"{value}\n")
    node.write_sysctl("net.ipv4.conf.all.route_localnet", f"{int(route_localnet)}\n")
    world.write_sysctl("net.ipv6.conf.default.disable_ipv6", "1\n")
    cables = [each.name for each in interfaces if each.name != "lo"]
    node.call(lambda: _make_links(cables, world.descriptor))
    for name in cables:
        # Nothing is ever resolved. Frames go out with the node's own hardware address on them:
        # the world's stack takes them for somebody else's, and our sockets see them all the same.
        for space in (node, world):
            space.set_flags(name, IFF_NOARP | IFF_UP)
    node.call(lambda: _add_addresses(interfaces, default=cables[0]))


def _make_links(cables: Sequence[str], world: int) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        for number, name in enumerate(cables):
            peer = {"ifname": name, "net_ns_fd": world}
            mac = _NODE_MAC.format(number)
            route.link("add", ifname=name, kind="veth", peer=peer, address=mac)


def _add_addresses(interfaces: Sequence[Interface], *, default: str) -> None:
    from pyroute2 import IPRoute

    with IPRoute() as route:
        for interface in interfaces:
            (index,) = route.link_lookup(ifname=interface.name)
            for text in interface.addresses:
                address, _, length = text.partition("/")
                if index == _LOOPBACK_INDEX and address in ("127.0.0.1", "::1"):
                    continue  # comes with the interface
                flags = {"flags": _IFA_F_NODAD} if ":" in address else {}
                route.addr("add", index=index, address=address, prefixlen=int(length), **flags)
        (index,) = route.link_lookup(ifname=default)
        route.route("add", dst="0.0.0.0/0", oif=index)
        route.route("add", dst="::/0", oif=index)


def open_cable(interface: str) -> socket.socket:
    """Inside the world: sees what comes out of the node, and can put packets in."""
    cable = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
    cable.bind((interface, _ETH_P_ALL))
    cable.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    cable.setblocking(False)
    return cable


def inject(cable: socket.socket, number: int, interface: str, data: bytes) -> None:
    """Put an IP packet into the node's cable of this number."""
    mac = bytes.fromhex(_NODE_MAC.format(number).replace(":", ""))
    protocol = _ETH_P_IP if data[0] >> 4 == 4 else _ETH_P_IPV6
    cable.sendto(data, (interface, protocol, 0, 0, mac))


def open_mouth(family: Family) -> socket.socket:
    """Inside the node: sends whole IP packets as a process of the node, from any address."""
    return socket.socket(_AF[family], socket.SOCK_RAW, socket.IPPROTO_RAW)


def open_ear(family: Family, protocol: int) -> socket.socket:
    """Inside the node: gets a copy of what passes the input hook, listener or not."""
    ear = socket.socket(_AF[family], socket.SOCK_RAW, protocol)
    if family is Family.IPV6:
        ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    ear.setblocking(False)
    return ear


def drain(cable: socket.socket) -> Iterator[bytes]:
    """The IP packets that wait at a cable."""
    while True:
        try:
            yield cable.recv(_SNAPSHOT)
        except BlockingIOError:
            return


def listen(ear: socket.socket, protocol: int) -> Iterator[Sighting]:
    """What of our packets has arrived at the node itself."""
    while True:
        try:
            data, extra, _, sender = ear.recvmsg(_SNAPSHOT, 256)
        except BlockingIOError:
            return
        if ear.family is socket.AF_INET:
            sighting = parse_packet(data)
        else:
            # Raw IPv6 sockets give no header, but tell where the packet went.
            (packed, _) = _IN6_PKTINFO.unpack(extra[0][2])
            source = IPAddress(sender[0].partition("%")[0])
            sighting = parse_payload(protocol, data, source, unpack_address(packed))
        if sighting is not None:
            yield sighting
