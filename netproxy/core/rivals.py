"""Two Services may claim one address, protocol and port: the older one gets it, on every node.

Decided here, once for all backends, so that no backend ever sees a duplicate frontend. kube-proxy
1.36 leaves it to chance: whichever of the two it happens to write last.
"""

from __future__ import annotations

from collections.abc import Iterable

from netproxy.core.plan import FrontendKey
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service

Seniority = tuple[bool, str, ServiceKey]


def seniority(service: Service) -> Seniority:
    """Sorts the oldest Service first; those without a creation time come last, then by name."""
    return (not service.creation_timestamp, service.creation_timestamp, service.key)


class FrontendClaims:
    """Who claims which frontend. The outcome depends on the current claims only."""

    def __init__(self) -> None:
        self._only: dict[FrontendKey, Seniority] = {}
        """Frontends with one claimant: nearly all."""
        self._contested: dict[FrontendKey, list[Seniority]] = {}
        """Frontends with several, oldest first; never fewer than two."""

    @property
    def has_rivals(self) -> bool:
        """Whether any frontend has more than one claimant."""
        return bool(self._contested)

    def withdraw(self, claimant: Seniority, keys: Iterable[FrontendKey]) -> set[ServiceKey]:
        """Take claims back.

        Returns:
            The Services whose frontends change because of it.
        """
        affected: set[ServiceKey] = set()
        for key in keys:
            queue = self._contested.get(key)
            if queue is None:
                self._only.pop(key, None)
                continue
            affected.update(name for _, _, name in queue if name != claimant[2])
            queue.remove(claimant)
            if len(queue) == 1:
                self._only[key] = queue[0]
                del self._contested[key]
        return affected

    def claim(self, claimant: Seniority, keys: Iterable[FrontendKey]) -> set[ServiceKey]:
        """Add claims; each key at most once per claimant.

        Returns:
            The Services whose frontends change because of it.
        """
        affected: set[ServiceKey] = set()
        for key in keys:
            if key in self._contested:
                queue = self._contested[key]
            elif key in self._only:
                queue = self._contested[key] = [self._only.pop(key)]
            else:
                self._only[key] = claimant
                continue
            affected.update(name for _, _, name in queue)
            queue.append(claimant)
            queue.sort()
        return affected

    def lost_by(
        self, service: Service, keys: Iterable[FrontendKey]
    ) -> dict[FrontendKey, ServiceKey]:
        """Those of the service's frontends that an older Service has, and that Service."""
        return {
            key: self._contested[key][0][2]
            for key in keys
            if key in self._contested and self._contested[key][0][2] != service.key
        }


def rival_diagnostics(service: Service, lost: dict[FrontendKey, ServiceKey]) -> list[Diagnostic]:
    """One warning per frontend that the service asks for and does not get."""
    return [
        Diagnostic(
            Severity.WARNING,
            f"Service {service.key}",
            "spec",
            f"{key} already belongs to Service {winner}, which is older; "
            "change one of them to have both reachable",
        )
        for key, winner in sorted(lost.items())
    ]
