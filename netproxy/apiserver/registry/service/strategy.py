"""Services, from what a client says to what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from netproxy.api.objects import Object, key_of
from netproxy.api.status import Cause
from netproxy.apiserver.contract import Write, WriteContext
from netproxy.apiserver.registry.service import traits
from netproxy.apiserver.registry.service.defaults import defaulted, with_both_ips
from netproxy.apiserver.registry.service.families import downgraded, with_families
from netproxy.apiserver.registry.service.update import refilled, update_faults, without_stale
from netproxy.apiserver.registry.service.validation import (
    service_faults,
    status_faults,
    warnings_of,
)
from netproxy.apiserver.registry.strategy import Strategy


class ServiceStrategy(Strategy):
    """See the other modules of this package for the rules themselves."""

    def defaulted(self, obj: Object) -> Object:
        """See ``defaults``."""
        return defaulted(obj)

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """Defaults; of an update what was allocated, without what no longer fits."""
        if old is None:
            return {**with_both_ips(defaulted(obj)), "status": {"loadBalancer": {}}}
        spec = refilled(old["spec"], without_stale(old["spec"], obj.get("spec") or {}))
        spec = downgraded(old["spec"], spec)
        prepared = with_both_ips(
            defaulted({**obj, "spec": spec, "status": old.get("status") or {}})
        )
        if traits.kind_of(prepared["spec"]) != "LoadBalancer":
            prepared["status"] = {**prepared["status"], "loadBalancer": {}}
        return prepared

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """What is wrong before anything is allocated."""
        found = service_faults(obj)
        if not found and old is not None:
            _, found = self._filled(obj, old)
        return found

    def _filled(self, obj: Object, old: Object | None) -> tuple[Object, list[Cause]]:
        before = old["spec"] if old else None
        spec, found = with_families(obj["spec"], self.means.families)
        if not found and before is not None:
            found = update_faults(before, spec)
        return {**obj, "spec": spec}, found

    def allocate(self, obj: Object, old: Object | None) -> tuple[Object, Sequence[Cause]]:
        """Families, addresses, node ports."""
        filled, found = self._filled(obj, old)
        if found:
            return obj, found
        held = traits.addresses(old["spec"]) if old else ()
        allocator = self.means.allocator
        spec, found = allocator.with_addresses(filled["spec"], held)
        if not found:
            spec, found = allocator.with_node_ports(key_of(obj), spec)
        return {**filled, "spec": spec}, found

    def companions(
        self, obj: Object | None, old: Object | None, context: WriteContext
    ) -> Sequence[Write]:
        """Its IPAddress objects."""
        known = obj or old
        assert known is not None
        return self.means.allocator.address_writes(key_of(known), old, obj, context)

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        """What works and is not a good idea."""
        return warnings_of(obj, old)

    def status_of(self, new: Object, old: Object) -> Object:
        """With defaults of load balancers' addresses."""
        changed = super().status_of(new, old)
        return {**changed, "status": defaulted(changed)["status"]}

    def status_faults(self, obj: Object, old: Object) -> Sequence[Cause]:
        """Addresses of load balancers."""
        del old
        return status_faults(obj.get("status") or {})
