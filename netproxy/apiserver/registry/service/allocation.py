"""Gives a Service what it needs: addresses and node ports; and lets go of what it needs no more."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from netproxy.api.objects import Key, Object
from netproxy.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from netproxy.api.status import Cause, StatusError
from netproxy.apiserver.contract import Dice, View, Write, WriteContext
from netproxy.apiserver.registry import causes
from netproxy.apiserver.registry.addresses import AddressRange, next_free, range_of
from netproxy.apiserver.registry.metadata import new_metadata
from netproxy.apiserver.registry.node_ports import NodePorts
from netproxy.apiserver.registry.service import traits

_MANAGED_BY = "ipallocator.k8s.io"


class Allocator:
    """Decides about addresses and ports; what it decides is true once it is stored.

    Args:
        view: The objects.
        ports: Who has which node port.
        random: Dice.
    """

    def __init__(self, view: View, ports: NodePorts, random: Dice) -> None:
        self._view = view
        self.ports = ports
        self._random = random

    def ranges(self, family: str) -> list[AddressRange]:
        """Where addresses of a family come from: ServiceCIDRs that are ready and stay."""
        found = []
        for each in self._view.list(SERVICE_CIDRS):
            if "deletionTimestamp" in each["metadata"] or not _is_ready(each):
                continue
            found += [
                range_of(ipaddress.ip_network(text))
                for text in each["spec"].get("cidrs") or ()
                if traits.family_of(text) == family
            ]
        return found

    def is_taken(self, address: str) -> bool:
        """Whether somebody has it."""
        return self._view.get(IP_ADDRESSES, Key("", address)) is not None

    def with_addresses(self, spec: Object, held: Iterable[str]) -> tuple[Object, list[Cause]]:
        """The specification with an address for each of its families.

        Args:
            spec: Filled, but for its addresses.
            held: Addresses that it has already.

        Raises:
            StatusError: 500, there is none left.
        """
        if not traits.needs_cluster_ip(spec) or traits.is_headless(spec):
            return spec, []
        mine = set(held)
        ips = list(traits.cluster_ips(spec))
        for address in ips:
            if address not in mine and (why := self._refusal(address)):
                return spec, [causes.invalid("spec.clusterIPs", ips, f"failed to allocate {why}")]
        ips += [self._allocate(each) for each in (spec.get("ipFamilies") or [])[len(ips) :]]
        return {**spec, "clusterIP": ips[0] if ips else "", "clusterIPs": ips}, []

    def _refusal(self, address: str) -> str:
        """Why somebody may not have the address that he wants; empty: he may."""
        wanted = ipaddress.ip_address(address)
        if not any(each.contains(wanted) for each in self.ranges(traits.family_of(address))):
            return f"IP {address}: the provided network does not match the current range"
        if self.is_taken(str(wanted)):
            return f"IP {address}: provided IP is already allocated"
        return ""

    def _allocate(self, family: str) -> str:
        address = next_free(self.ranges(family), self.is_taken, self._random)
        if address is None:
            raise StatusError(
                500,
                "InternalError",
                "Internal error occurred: failed to allocate a serviceIP: range is full "
                f"({family})",
            )
        return address

    def with_node_ports(self, key: Key, spec: Object) -> tuple[Object, list[Cause]]:
        """The specification with a node port wherever one is needed.

        TCP and UDP on the same port share a number.

        Raises:
            StatusError: 500, there is none left.
        """
        if not traits.takes_node_ports(spec):
            return spec, []
        found: list[Cause] = []
        ports = [dict(each) for each in spec.get("ports") or ()]
        used = {each["nodePort"] for each in ports if each.get("nodePort")}
        shared = {each["port"]: each["nodePort"] for each in ports if each.get("nodePort")}
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if number:
                found += self._port_faults(key, f"spec.ports[{index}].nodePort", number)
            elif traits.allocates_node_ports(spec):
                protocols = {
                    each["protocol"]
                    for each in ports
                    if each.get("nodePort") == shared.get(port["port"])
                }
                if port["port"] in shared and port["protocol"] not in protocols:
                    port["nodePort"] = shared[port["port"]]
                else:
                    port["nodePort"] = self._next_port(used)
                used.add(port["nodePort"])
                shared.setdefault(port["port"], port["nodePort"])
        spec = {**spec, "ports": ports} if ports else spec
        if traits.needs_health_check_port(spec):
            wanted = spec.get("healthCheckNodePort")
            if wanted:
                found += self._port_faults(key, "spec.healthCheckNodePort", wanted)
                if wanted in used:
                    why = "provided port is already allocated"
                    found.append(causes.invalid("spec.healthCheckNodePort", wanted, why))
            else:
                spec = {**spec, "healthCheckNodePort": self._next_port(used)}
        return spec, found

    def _port_faults(self, key: Key, field: str, port: int) -> list[Cause]:
        if port not in self.ports.range:
            why = (
                "provided port is not in the valid range. The range of valid ports is "
                f"{self.ports.range}"
            )
            return [causes.invalid(field, port, why)]
        if self.ports.is_taken(port, key):
            return [causes.invalid(field, port, "provided port is already allocated")]
        return []

    def _next_port(self, used: set[int]) -> int:
        port = self.ports.next_free(used, self._random)
        if port is None:
            raise StatusError(
                500,
                "InternalError",
                "Internal error occurred: failed to allocate a nodePort: range is full",
            )
        return port

    def address_writes(
        self, key: Key, old: Object | None, new: Object | None, context: WriteContext
    ) -> list[Write]:
        """IPAddress objects that come and go with a Service's addresses."""
        before = set(traits.addresses(old["spec"])) if old else set()
        after = traits.addresses(new["spec"]) if new else []
        writes = [
            Write(IP_ADDRESSES, Key("", each), None)
            for each in sorted(before - set(after))
            if self.is_taken(each)
        ]
        writes += [self._address_write(key, each, context) for each in after if each not in before]
        return writes

    def _address_write(self, key: Key, address: str, context: WriteContext) -> Write:
        obj: Object = {
            "apiVersion": IP_ADDRESSES.api_version,
            "kind": IP_ADDRESSES.kind,
            "metadata": {
                "name": address,
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": traits.family_of(address),
                    "ipaddress.kubernetes.io/managed-by": _MANAGED_BY,
                },
            },
            "spec": {
                "parentRef": {"resource": "services", "namespace": key.namespace, "name": key.name}
            },
        }
        metadata = new_metadata(obj, context.now, self._random, lambda _: False)
        return Write(IP_ADDRESSES, Key("", address), {**obj, "metadata": metadata})


def _is_ready(cidr: Object) -> bool:
    conditions = (cidr.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
