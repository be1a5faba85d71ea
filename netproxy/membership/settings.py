"""What a host has to know to be a node."""

from __future__ import annotations

from typing import NamedTuple

from netproxy.model.ip import IPAddress


class MembershipSettings(NamedTuple):
    """Who a node is."""

    name: str
    addresses: tuple[IPAddress, ...]
    """Where other nodes reach it: one, or one of each IP family."""
    runs_pods: bool = True
    """Whether Pods can be bound to it."""
