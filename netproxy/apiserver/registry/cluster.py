"""Kinds with few rules: nodes, namespaces, configuration, events, ranges and addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from netproxy.api.objects import Object
from netproxy.api.resources import IP_ADDRESSES, SERVICE_CIDRS
from netproxy.api.status import Cause
from netproxy.apiserver.contract import DeleteOptions, WriteContext
from netproxy.apiserver.registry import causes, names
from netproxy.apiserver.registry.addresses import AddressRange, range_of
from netproxy.apiserver.registry.metadata import rfc3339
from netproxy.apiserver.registry.strategy import Strategy

LONGEST_CONFIG = 1024 * 1024
"""All values of a ConfigMap together, in bytes."""
CIDR_FINALIZER = "networking.k8s.io/service-cidr-finalizer"


class NodeStrategy(Strategy):
    """Nodes."""

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """``podCIDR`` and ``podCIDRs`` say the same; what is given stays."""
        spec = dict(obj.get("spec") or {})
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        if spec.get("podCIDRs") and not spec.get("podCIDR"):
            spec["podCIDR"] = spec["podCIDRs"][0]
        status = obj.get("status") or {} if old is None else old.get("status") or {}
        return {**obj, "spec": spec, "status": status}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """Prefixes that are none, and those that change."""
        spec = obj["spec"]
        prefixes = spec.get("podCIDRs") or ()
        found = [
            causes.invalid(f"spec.podCIDRs[{index}]", each, "must be a valid CIDR value")
            for index, each in enumerate(prefixes)
            if not _is_network(each)
        ]
        if prefixes and spec.get("podCIDR") != prefixes[0]:
            why = "must match `podCIDR`"
            found.append(causes.invalid("spec.podCIDRs[0]", prefixes[0], why))
        if old is not None:
            before = (old.get("spec") or {}).get("podCIDRs")
            if before and list(prefixes) != list(before):
                why = 'node updates may not change podCIDR except from "" to valid'
                found.append(causes.forbidden("spec.podCIDRs", why))
        return found


class NamespaceStrategy(Strategy):
    """Namespaces: they go when they are empty, which a controller sees to."""

    def defaulted(self, obj: Object) -> Object:
        """Its name is a label, by which selectors find it."""
        metadata = obj.get("metadata") or {}
        if not (name := metadata.get("name")):
            return obj
        labels = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": name}
        return {**obj, "metadata": {**metadata, "labels": labels}}

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """Active, with the finalizer of those who empty it."""
        obj = self.defaulted(obj)
        if old is None:
            return {
                **obj,
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            }
        return {
            **obj,
            "spec": old.get("spec") or {},
            "status": old.get("status") or {},
        }

    def leaving(self, old: Object, options: DeleteOptions, context: WriteContext) -> Object | None:
        """It stays, terminating, until everything in it is gone."""
        del options
        if not (old.get("spec") or {}).get("finalizers"):
            return None
        if "deletionTimestamp" in old["metadata"]:
            return old
        metadata = {**old["metadata"], "deletionTimestamp": rfc3339(context.now)}
        return {
            **old,
            "metadata": metadata,
            "status": {**(old.get("status") or {}), "phase": "Terminating"},
        }


class ConfigMapStrategy(Strategy):
    """ConfigMaps."""

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """Keys, size, and that immutable ones stay as they are."""
        data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
        found: list[Cause] = []
        for field, values in (("data", data), ("binaryData", binary)):
            for key in values:
                found += [
                    causes.invalid(f"{field}[{key}]", key, why)
                    for why in names.config_key_faults(key)
                ]
        found += [
            causes.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
            for key in sorted(data.keys() & binary.keys())
        ]
        size = sum(len(each.encode()) for each in data.values())
        size += sum(len(each) * 3 // 4 for each in binary.values())
        if size > LONGEST_CONFIG:
            found.append(causes.too_long("", LONGEST_CONFIG))
        if old is not None and old.get("immutable"):
            why = "field is immutable when `immutable` is set"
            found += [
                causes.forbidden(field, why)
                for field in ("immutable", "data", "binaryData")
                if (old.get(field) or {}) != (obj.get(field) or {})
            ]
        return found


class EventStrategy(Strategy):
    """Events."""

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """An Event is where the object is that it is about."""
        del old
        about = obj.get("involvedObject") or {}
        namespace = obj["metadata"].get("namespace", "")
        where = about.get("namespace", "")
        if where and where != namespace:
            why = "does not match event.namespace"
            return [causes.invalid("involvedObject.namespace", where, why)]
        if not where and namespace not in {"default", "kube-system"}:
            why = "does not match event.namespace"
            return [causes.invalid("involvedObject.namespace", where, why)]
        return []


class ServiceCidrStrategy(Strategy):
    """Ranges of ClusterIPs. One that is used stays until it is not."""

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """It is ready at once: nobody else has to agree."""
        if old is not None:
            return {**obj, "status": old.get("status") or {}}
        metadata = dict(obj["metadata"])
        finalizers = list(metadata.get("finalizers") or ())
        if CIDR_FINALIZER not in finalizers:
            finalizers.append(CIDR_FINALIZER)
        metadata["finalizers"] = finalizers
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready"
            if metadata.get("name") == "kubernetes"
            else "",
            "lastTransitionTime": metadata["creationTimestamp"],
        }
        return {**obj, "metadata": metadata, "status": {"conditions": [ready]}}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """One prefix, or one of each family; fixed."""
        prefixes = (obj.get("spec") or {}).get("cidrs") or ()
        if old is not None:
            if list(prefixes) != list((old.get("spec") or {}).get("cidrs") or ()):
                return [causes.invalid("spec.cidrs", list(prefixes), "field is immutable")]
            return []
        if not prefixes:
            return [causes.required("spec.cidrs", "at least one CIDR required")]
        if len(prefixes) > 2:
            why = "may only hold up to 2 values"
            return [causes.invalid("spec.cidrs", list(prefixes), why)]
        found = [
            causes.invalid(f"spec.cidrs[{index}]", each, "must be a valid CIDR value")
            for index, each in enumerate(prefixes)
            if not _is_network(each)
        ]
        if not found and len({":" in each for each in prefixes}) != len(prefixes):
            why = "may specify no more than one IP for each IP family"
            found.append(causes.invalid("spec.cidrs", list(prefixes), why))
        return found

    def leaving(self, old: Object, options: DeleteOptions, context: WriteContext) -> Object | None:
        """It stays while an address in it is taken that no other range has."""
        del options
        metadata = old["metadata"]
        others = [each for each in metadata.get("finalizers") or () if each != CIDR_FINALIZER]
        if not self.is_used(old):
            if not others:
                return None
            metadata = {**metadata, "finalizers": others}
        if "deletionTimestamp" in metadata and metadata == old["metadata"]:
            return old
        metadata = {
            **metadata,
            "deletionTimestamp": rfc3339(context.now),
            "deletionGracePeriodSeconds": 0,
        }
        return {**old, "metadata": metadata, "status": _terminating(old, context)}

    def is_used(self, cidr: Object) -> bool:
        """Whether a Service has an address of it that comes from no other range."""
        mine = _ranges(cidr)
        name = cidr["metadata"]["name"]
        rest = [
            each
            for other in self.means.view.list(SERVICE_CIDRS)
            if other["metadata"]["name"] != name and "deletionTimestamp" not in other["metadata"]
            for each in _ranges(other)
        ]
        for obj in self.means.view.list(IP_ADDRESSES):
            address = ipaddress.ip_address(obj["metadata"]["name"])
            if any(each.contains(address) for each in mine) and not any(
                each.contains(address) for each in rest
            ):
                return True
        return False


def _ranges(cidr: Object) -> list[AddressRange]:
    return [range_of(ipaddress.ip_network(each)) for each in cidr["spec"].get("cidrs") or ()]


def _terminating(cidr: Object, context: WriteContext) -> Object:
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "Terminating",
        "message": "There are still IPAddresses referencing the ServiceCIDR, please remove them or "
        "create a new ServiceCIDR",
        "lastTransitionTime": rfc3339(context.now),
    }
    return {**(cidr.get("status") or {}), "conditions": [ready]}


class IpAddressStrategy(Strategy):
    """Addresses that are taken."""

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """The name is the address, in its one spelling; somebody has it."""
        name = obj["metadata"]["name"]
        try:
            canonical = str(ipaddress.ip_address(name))
        except ValueError:
            why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            return [causes.invalid("metadata.name", name, why)]
        if canonical != name:
            why = f"must be in canonical form ({canonical})"
            return [causes.invalid("metadata.name", name, why)]
        parent = (obj.get("spec") or {}).get("parentRef")
        if not parent:
            return [causes.required("spec.parentRef")]
        found = [
            causes.required(f"spec.parentRef.{each}")
            for each in ("resource", "name")
            if not parent.get(each)
        ]
        if old is not None and old.get("spec") != obj.get("spec"):
            found.append(causes.invalid("spec.parentRef", parent, "field is immutable"))
        return found


def _is_network(text: str) -> bool:
    try:
        return str(ipaddress.ip_network(text)) == text
    except ValueError:
        return False
