"""Which machines there are, and where everything is kept: no I/O."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
VAGRANT = ROOT / "vagrant"
RESULTS = VAGRANT / "results"
STATE = ROOT / "build" / "vm"
BOXES = STATE / "boxes"
WHEELS = STATE / "wheels"
LAN_KEY = STATE / "lan" / "key"
"""With which the client logs in to the nodes; the path is the one that Vagrantfile has."""
RUN = STATE / "run"
"""What belongs to the machines of the moment, and is gone with them."""
GUEST_ROOT = "/netproxy"
GUEST_RESULTS = "/var/lib/netproxy-results.tar"
NOT_COPIED = (
    *(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__"),
    *("/build/vm/boxes", "/build/vm/run", "/vagrant/results", "/vagrant/.vagrant"),
)
"""What of this tree a guest does not get, in rsync's words; Vagrantfile has the same."""


class Machine(NamedTuple):
    """One virtual machine."""

    name: str
    number: int
    """The last part of its addresses."""

    @property
    def is_client(self) -> bool:
        return self.name == "client"

    @property
    def address(self) -> str:
        """On the network of the machines among themselves."""
        return f"192.168.56.{self.number}"


def plan_machines(nodes: int) -> list[Machine]:
    """So many nodes, and a client if there is more than one.

    Example:
        >>> [f"{m.name} {m.address}" for m in plan_machines(2)]
        ['node1 192.168.56.11', 'node2 192.168.56.12', 'client 192.168.56.10']
    """
    machines = [Machine(f"node{number}", 10 + number) for number in range(1, nodes + 1)]
    return [*machines, Machine("client", 10)] if nodes > 1 else machines
