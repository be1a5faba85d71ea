"""Node ports: one range for the ports of Services and for their health checks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netproxy.api.objects import Key, Object
from netproxy.apiserver.contract import Dice

FIRST, LAST = 30000, 32767
_SMALLEST_BAND, _LARGEST_BAND = 16, 128


class PortRange(NamedTuple):
    """Inclusive."""

    first: int = FIRST
    last: int = LAST

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    @property
    def static(self) -> int:
        """How many from the first on are given out last: people choose from them."""
        size = self.last - self.first + 1
        if size <= _SMALLEST_BAND:
            return 0
        return min(max(_SMALLEST_BAND, size // 32), _LARGEST_BAND)


class NodePorts:
    """Which Service has which ports. Follows what is stored."""

    def __init__(self, ports: PortRange) -> None:
        self.range = ports
        self._owners: dict[int, dict[Key, set[str]]] = {}
        self._owned: dict[Key, list[tuple[int, str]]] = {}

    def clear(self) -> None:
        """Nobody has any."""
        self._owners.clear()
        self._owned.clear()

    def put(self, key: Key, service: Object | None) -> None:
        """This is the Service now; None: it is gone."""
        for port, _ in self._owned.pop(key, ()):
            owners = self._owners.get(port)
            if owners is not None:
                owners.pop(key, None)
                if not owners:
                    del self._owners[port]
        if service is None:
            return
        owned = list(ports_of(service["spec"]))
        if owned:
            self._owned[key] = owned
        for port, protocol in owned:
            self._owners.setdefault(port, {}).setdefault(key, set()).add(protocol)

    def is_taken(self, port: int, key: Key) -> bool:
        """Whether another Service has it, for whatever protocol."""
        return any(each != key for each in self._owners.get(port, ()))

    def next_free(self, used: Iterable[int], random: Dice) -> int | None:
        """A free port; None: all are taken.

        Args:
            used: Those that the Service has or gets besides.
            random: Dice.
        """
        mine = set(used)
        for port in self._order(random):
            if port not in mine and not self._owners.get(port):
                return port
        return None

    def _order(self, random: Dice) -> Iterator[int]:
        dynamic = self.range.first + self.range.static
        if dynamic <= self.range.last:
            start = random.randint(dynamic, self.range.last)
            yield from range(start, self.range.last + 1)
            yield from range(dynamic, start)
        yield from range(self.range.first, min(dynamic, self.range.last + 1))


def ports_of(spec: Object) -> Iterator[tuple[int, str]]:
    """Ports that a Service has on every node, with their protocol; health checks are TCP."""
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            yield port["nodePort"], port.get("protocol") or "TCP"
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"], "TCP"
