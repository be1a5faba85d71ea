"""Addresses for Services of type LoadBalancer, from a pool that an operator has given."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from netproxy.api.events import event
from netproxy.api.objects import Key, Object
from netproxy.api.resources import CORE_EVENTS, SERVICES, Resource
from netproxy.controllers.contract import Action, Create, Objects, Plan, Update
from netproxy.errors import ConfigError

_COMPONENT: Final = "service-controller"
_AGAIN_S = 30.0


class PoolRange(NamedTuple):
    """Addresses from the first to the last, both included."""

    first: int
    last: int
    version: int

    def has(self, address: str) -> bool:
        """Whether it is one of them."""
        known = ipaddress.ip_address(address)
        return known.version == self.version and self.first <= int(known) <= self.last

    def text(self, number: int) -> str:
        """One of its addresses."""
        kind = ipaddress.IPv4Address if self.version == 4 else ipaddress.IPv6Address
        return str(kind(number))


def parse_pool(words: Iterable[str]) -> list[PoolRange]:
    """A pool: prefixes (``203.0.113.0/28``), ranges (``192.0.2.10-192.0.2.20``) and addresses.

    Raises:
        ConfigError: one of them is none.
    """
    found = []
    for word in words:
        try:
            if "-" in word:
                low, _, high = word.partition("-")
                first, last = ipaddress.ip_address(low.strip()), ipaddress.ip_address(high.strip())
                if first.version != last.version or int(first) > int(last):
                    raise ValueError(f"{word} goes backwards")
                found.append(PoolRange(int(first), int(last), first.version))
            else:
                network = ipaddress.ip_network(word.strip(), strict=False)
                first_number = int(network.network_address)
                last_number = first_number + network.num_addresses - 1
                found.append(PoolRange(first_number, last_number, network.version))
        except ValueError as error:
            raise ConfigError(
                setting="--load-balancer-pool",
                problem=str(error),
                hint="give prefixes, ranges such as 192.0.2.10-192.0.2.20, or addresses",
            ) from None
    return found


class BalancerController:
    """See ``contract.Controller``; keys are Services.

    Args:
        pool: Where addresses come from; empty: Services wait for somebody else.
    """

    name: Final = "service-lb"
    resources: Final = (SERVICES,)

    def __init__(self, pool: Sequence[PoolRange]) -> None:
        self._pool = pool
        self._taken: dict[str, Key] = {}
        self._waiting: set[Key] = set()

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Load balancers; when one gives an address back, those that wait for one."""
        del resource
        before, after = _given(old), _given(new) if _is_balancer(new) else []
        for each in before:
            if self._taken.get(each) == key:
                del self._taken[each]
        for each in after:
            self._taken.setdefault(each, key)
        found = [key] if new is not None and (_is_balancer(new) or after or before) else []
        if set(before) - set(after):
            found += self._waiting
        if new is None:
            self._waiting.discard(key)
        return found if self._pool else ()

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Give it an address of each of its families."""
        service = objects.get(SERVICES, key)
        self._waiting.discard(key)
        if service is None or not _is_balancer(service) or service["spec"].get("loadBalancerClass"):
            return Plan()
        known = _given(service)
        families = service["spec"].get("ipFamilies") or ["IPv4"]
        wished = service["spec"].get("loadBalancerIP") or ""
        given = []
        for family in families:
            kept = next((each for each in known if self._is_right(each, family, wished, key)), None)
            address = kept or self._free(family, wished, key)
            if address is None:
                self._waiting.add(key)
                return self._empty(service, family, wished, now)
            given.append(address)
        if given == known:
            return Plan()
        for each in given:
            self._taken[each] = key
        ingress = [{"ip": each, "ipMode": "VIP"} for each in given]
        status = {**(service.get("status") or {}), "loadBalancer": {"ingress": ingress}}
        told = event(service, "EnsuredLoadBalancer", "Got " + ", ".join(given), _COMPONENT, now)
        actions: list[Action] = [
            Update(SERVICES, {**service, "status": status}, "status"),
            Create(CORE_EVENTS, told),
        ]
        return Plan(actions)

    def _is_right(self, address: str, family: str, wished: str, key: Key) -> bool:
        is_family = (":" in address) == (family == "IPv6")
        is_wished = not wished or (":" in wished) != (":" in address) or wished == address
        is_pooled = any(each.has(address) for each in self._pool)
        return is_family and is_wished and is_pooled and self._taken.get(address, key) == key

    def _free(self, family: str, wished: str, key: Key) -> str | None:
        if wished and (":" in wished) == (family == "IPv6"):
            is_pooled = any(each.has(wished) for each in self._pool)
            return wished if is_pooled and self._taken.get(wished, key) == key else None
        for each in self._pool:
            if (each.version == 6) != (family == "IPv6"):
                continue
            for number in range(each.first, each.last + 1):
                address = each.text(number)
                if self._taken.get(address, key) == key:
                    return address
        return None

    def _empty(self, service: Object, family: str, wished: str, now: datetime) -> Plan:
        why = f"{wished} is not to be had" if wished else f"no {family} address is left in the pool"
        told = event(
            service, "AllocationFailed", f"No address: {why}", _COMPONENT, now, kind="Warning"
        )
        return Plan([Create(CORE_EVENTS, told)], _AGAIN_S * 10)


def _is_balancer(service: Object | None) -> bool:
    return service is not None and service["spec"].get("type") == "LoadBalancer"


def _given(service: Object | None) -> list[str]:
    ingress = (((service or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [each["ip"] for each in ingress if each.get("ip")]
