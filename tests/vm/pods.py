"""The pods of a node: run by a node's Python, as root, with nothing installed.

    python3 pods.py NODE NODES

Two pods on a bridge, each in a network namespace of its own, and routes to those of other nodes.
A pod says its name and who asks, over TCP and UDP on port 8080. What another process made of it
before is used or replaced; when this one ends, pods no longer answer.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import socket
import subprocess
import sys

PORT = 8080
CLONE_NEWNET = 0x40000000
LETTERS = ("a", "b")


def ip(*words: str) -> None:
    """Run the program ip.

    Raises:
        CalledProcessError: it failed.
    """
    subprocess.run(["ip", *words], check=True)


def addresses_of(node: int, host: int) -> tuple[str, str]:
    """Of a node's bridge (1) or pods (2, 3), in both families."""
    return f"10.244.{node}.{host}", f"fd00:244:{node}::{host}"


def pass_bridges_through_rules() -> None:
    """Else replies from one pod to another on this bridge pass by the node's rules.

    Every cluster whose pods are on bridges takes this module.
    """
    subprocess.run(["modprobe", "br_netfilter"], check=True)
    for family in ("iptables", "ip6tables"):
        with open(f"/proc/sys/net/bridge/bridge-nf-call-{family}", "w") as setting:
            setting.write("1")


def lay_bridge(node: int, nodes: int) -> None:
    """The node's end of all cables, and the ways to other nodes' pods."""
    pass_bridges_through_rules()
    if not os.path.exists("/sys/class/net/cni0"):
        ip("link", "add", "cni0", "type", "bridge")
    ip("link", "set", "cni0", "up")
    ipv4, ipv6 = addresses_of(node, 1)
    ip("address", "replace", f"{ipv4}/24", "dev", "cni0")
    ip("address", "replace", f"{ipv6}/64", "dev", "cni0", "nodad")
    # A Service's address needs *some* way before rules may rewrite it; of IPv6 there is no default.
    ip("route", "replace", "fd00:96::/112", "dev", "cni0")
    for other in set(range(1, nodes + 1)) - {node}:
        ip("route", "replace", f"10.244.{other}.0/24", "via", f"192.168.56.{10 + other}")
        ip("route", "replace", f"fd00:244:{other}::/64", "via", f"fd00:56::{10 + other}")


def make_pod(name: str, node: int, host: int) -> None:
    """A namespace with a cable to the bridge."""
    if os.path.exists(f"/run/netns/{name}"):
        ip("netns", "delete", name)
    ip("netns", "add", name)
    # A cable that went with its namespace may have its name for a while still.
    end = f"{name}-{os.getpid()}"
    ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", end, "master", "cni0", "up")
    # A pod may reach itself by way of a Service: back through the port that it came from.
    ip("link", "set", end, "type", "bridge_slave", "hairpin", "on")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "link", "set", "eth0", "up")
    for address, length, gateway in zip(
        addresses_of(node, host), (24, 64), addresses_of(node, 1), strict=True
    ):
        ip("-n", name, "address", "add", f"{address}/{length}", "dev", "eth0", "nodad")
        ip("-n", name, "route", "add", "default", "via", gateway)


def enter(name: str) -> None:
    """This thread's sockets are those of a pod from now on."""
    with open(f"/run/netns/{name}") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {name}")


def listen() -> list[socket.socket]:
    """For whoever asks over TCP or UDP, in both families."""
    server = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    box = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    box.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    box.bind(("::", PORT))
    return [server, box]


def answer(one: socket.socket, name: str) -> None:
    """Say who we are and who asks."""
    if one.type == socket.SOCK_DGRAM:
        _, peer = one.recvfrom(64)
        one.sendto(words(name, peer), peer)
        return
    connection, peer = one.accept()
    with connection:
        connection.sendall(words(name, peer))


def words(name: str, peer: tuple[str, int]) -> bytes:
    return f"{name} {peer[0].removeprefix('::ffff:')}\n".encode()


def main(node: int, nodes: int) -> None:
    """Make the pods, say that they are there, and answer for them."""
    lay_bridge(node, nodes)
    names = [f"node{node}-{letter}" for letter in LETTERS]
    for host, name in enumerate(names, 2):
        make_pod(name, node, host)
    selector = selectors.DefaultSelector()
    for name in names:
        enter(name)
        for one in listen():
            selector.register(one, selectors.EVENT_READ, name)
    notify_ready()
    while True:
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            answer(key.fileobj, key.data)


def notify_ready() -> None:
    """As sd_notify(3) has it; the socket's name is one of the file system, or of nowhere (@)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        name = os.environ["NOTIFY_SOCKET"]
        service_manager.sendto(b"READY=1", f"\0{name[1:]}" if name[0] == "@" else name)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
