"""What each kind of object means: defaults, validation, immutability, allocation. Pure.

The clock and the dice are arguments; what is taken is in the objects themselves.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from netproxy.apiserver.contract import Decision, Dice, Registry, View, WriteContext
from netproxy.apiserver.registry.addresses import first_address, range_of
from netproxy.apiserver.registry.bootstrap import Bootstrap
from netproxy.apiserver.registry.decisions import Decisions
from netproxy.apiserver.registry.node_ports import PortRange

NODE_PORTS = PortRange()

__all__ = ["PortRange", "RegistrySettings", "bootstrap", "make_registry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """Ranges from which Services get what they need.

    Attributes:
        service_cidrs: For ClusterIPs; one, or one of each IP family, the primary one first.
        node_ports: For NodePorts and health checks.
    """

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: PortRange = NODE_PORTS

    @property
    def families(self) -> tuple[str, ...]:
        """The cluster's IP families, its primary one first."""
        return tuple("IPv6" if ":" in each else "IPv4" for each in self.service_cidrs)

    @property
    def kubernetes_address(self) -> str:
        """Of Service kubernetes: the first address of the primary range."""
        return first_address(ipaddress.ip_network(self.service_cidrs[0]))

    @property
    def dns_address(self) -> str:
        """Of Service kube-dns: the tenth address of the primary range, as kubeadm has it."""
        return range_of(ipaddress.ip_network(self.service_cidrs[0])).text(10)


def make_registry(view: View, settings: RegistrySettings, random: Dice) -> Registry:
    """A registry that knows what is stored."""
    registry = Decisions(view, settings.families, settings.node_ports, random)
    registry.rebuild(view)
    return registry


def bootstrap(
    registry: Registry,
    view: View,
    settings: RegistrySettings,
    context: WriteContext,
    server: tuple[str, int] | None,
) -> Iterator[Decision]:
    """What every cluster has from the beginning, where it is missing or different.

    Args:
        registry: Decides.
        view: What there is; each decision is to be stored before the next one is asked for.
        settings: Ranges.
        context: When.
        server: Where pods reach the API server; None: nowhere.
    """
    return Bootstrap(registry, view, context).decide(
        settings.service_cidrs, settings.kubernetes_address, server
    )
