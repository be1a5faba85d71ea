"""Service ports whose connections are dropped, as policy Local finds no endpoint on this node.

Source: kube-proxy 1.36, kubeproxy_sync_proxy_rules_no_local_endpoints_total.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netproxy.core.plan import Action, ServicePlan
from netproxy.model.names import ServiceKey


class LocalGaps(NamedTuple):
    """How many service ports, by the policy that is to blame."""

    internal: int = 0
    external: int = 0


NO_GAPS = LocalGaps()


class GapCounter:
    """Counts in one family; what a change costs does not depend on how many there are."""

    def __init__(self) -> None:
        self.gaps = LocalGaps()
        self._of: dict[ServiceKey, LocalGaps] = {}
        """Only of those that have any."""

    def note(self, key: ServiceKey, plans: Sequence[ServicePlan]) -> None:
        """The plans of a Service, instead of its former ones; none: it is gone."""
        now = count_gaps(plans)
        before = self._of.get(key, NO_GAPS)
        if now == before:
            return
        if now == NO_GAPS:
            del self._of[key]
        else:
            self._of[key] = now
        self.gaps = LocalGaps(
            self.gaps.internal + now.internal - before.internal,
            self.gaps.external + now.external - before.external,
        )


_DROP = Action.DROP


def count_gaps(plans: Sequence[ServicePlan]) -> LocalGaps:
    """How many of these service ports drop."""
    internal = external = 0
    for plan in plans:
        dropping = [f.is_external for f in plan.frontends if f.action is _DROP]
        if dropping:
            external += True in dropping
            internal += False in dropping
    return LocalGaps(internal, external) if internal or external else NO_GAPS
