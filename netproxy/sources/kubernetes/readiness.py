"""When a source has said enough to program a node for the first time.

Source: kube-proxy 1.36, start-up order: all lists, the Node's addresses within 30 s, and in mode
NodeCIDR its pod networks within 5 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netproxy.errors import UnsupportedError
from netproxy.model.events import Delete, Event, Upsert
from netproxy.model.node import Node


class NodeWait(NamedTuple):
    """What has to be known of our Node before anything is programmed, and for how long to wait."""

    addresses_s: float = 30.0
    """For its addresses, from when all else is known, in seconds; then it has to do without."""
    needs_pod_cidrs: bool = False
    """``--detect-local-mode=NodeCIDR``: nothing can be right without them."""
    pod_cidrs_s: float = 300.0
    """For its pod networks; then it cannot work."""


class Gate(NamedTuple):
    """Whether to begin."""

    is_open: bool
    missing: str = ""
    """What is not known, in words, though it should be."""


class Readiness:
    """Looks at what a source says, until it is enough.

    Args:
        node_name: Ours.
        wait: What is enough.
    """

    def __init__(self, node_name: str, wait: NodeWait) -> None:
        self._node_name = node_name
        self._wait = wait
        self._node: Node | None = None
        self._since: float | None = None
        """When all but the Node was known."""

    def see(self, events: Sequence[Event]) -> None:
        """Take in what is said."""
        for event in events:
            match event:
                case Upsert(object=Node() as node):
                    self._node = node
                case Delete(key=("Node", _, _)):
                    self._node = None

    def look(self, now: float, *, is_listed: bool, is_node_listed: bool) -> Gate:
        """Whether it is enough by now.

        Args:
            now: On any clock, in seconds.
            is_listed: Everything but our Node has been said.
            is_node_listed: So has our Node, or that there is none.

        Raises:
            UnsupportedError: the pod networks did not come.
        """
        if not is_listed:
            return Gate(is_open=False)
        if self._since is None:
            self._since = now
        waited_s = now - self._since
        if self._wait.needs_pod_cidrs and not (self._node and self._node.pod_cidrs):
            if waited_s < self._wait.pod_cidrs_s:
                return Gate(is_open=False)
            raise UnsupportedError(
                f"Node {self._node_name} got no podCIDRs within {waited_s:.0f} s",
                hint="--detect-local-mode=NodeCIDR needs them: let the controller manager allocate "
                "them (--allocate-node-cidrs), or choose ClusterCIDR or an interface",
            )
        if self._node is not None and self._node.addresses:
            return Gate(is_open=True)
        if waited_s < self._wait.addresses_s:
            return Gate(is_open=False)
        if self._node is not None:
            return Gate(is_open=True, missing="its addresses")
        return Gate(is_open=True, missing="the Node itself" if is_node_listed else "an answer")

    def next_look(self, now: float) -> float | None:
        """Seconds until the answer may be another one without further events; None: never."""
        if self._since is None:
            return None
        waited_s = now - self._since
        ends = [self._wait.addresses_s]
        if self._wait.needs_pod_cidrs:
            ends.append(self._wait.pod_cidrs_s)
        return min((max(end - waited_s, 0.0) for end in ends if end > waited_s), default=None)
