"""``contract.Registry``: every write comes here, is judged by its kind's rules, and is carried out.

No state of its own but for node ports, which follow what is stored; addresses are objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from netproxy.api import status
from netproxy.api.objects import Key, Object, key_of, uid_of
from netproxy.api.resources import (
    ACCESS_REVIEWS,
    CONFIG_MAPS,
    CORE_EVENTS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    IP_ADDRESSES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netproxy.api.status import Cause
from netproxy.apiserver.contract import Decision, DeleteOptions, Dice, View, Write, WriteContext
from netproxy.apiserver.registry import cluster, endpoints, workloads
from netproxy.apiserver.registry.events import to_core_v1
from netproxy.apiserver.registry.metadata import (
    metadata_faults,
    new_metadata,
    rfc3339,
    update_faults,
    updated_metadata,
)
from netproxy.apiserver.registry.node_ports import NodePorts, PortRange
from netproxy.apiserver.registry.pods import PodStrategy, bound
from netproxy.apiserver.registry.scale import from_scale
from netproxy.apiserver.registry.service.strategy import ServiceStrategy
from netproxy.apiserver.registry.strategy import Means, Strategy

STRATEGIES: MappingProxyType[Resource, type[Strategy]] = MappingProxyType(
    {
        SERVICES: ServiceStrategy,
        ENDPOINTS: endpoints.EndpointsStrategy,
        ENDPOINT_SLICES: endpoints.SliceStrategy,
        PODS: PodStrategy,
        NODES: cluster.NodeStrategy,
        NAMESPACES: cluster.NamespaceStrategy,
        CONFIG_MAPS: cluster.ConfigMapStrategy,
        CORE_EVENTS: cluster.EventStrategy,
        EVENTS: cluster.EventStrategy,
        SERVICE_CIDRS: cluster.ServiceCidrStrategy,
        IP_ADDRESSES: cluster.IpAddressStrategy,
        DEPLOYMENTS: workloads.DeploymentStrategy,
        REPLICA_SETS: workloads.WorkloadStrategy,
        LEASES: Strategy,
    }
)
_WITHOUT_END = ("default", "kube-node-lease", "kube-public", "kube-system")
_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"


class Decisions:
    """The registry.

    Args:
        view: The objects.
        families: The cluster's IP families, its primary one first.
        ports: The range of node ports.
        random: Dice, for uids, names, addresses and ports.
    """

    def __init__(
        self, view: View, families: tuple[str, ...], ports: PortRange, random: Dice
    ) -> None:
        self._view = view
        self._random = random
        self._ports = NodePorts(ports)
        means = Means(view, random, self._ports, families)
        self._strategies = {resource: make(means) for resource, make in STRATEGIES.items()}

    def defaulted(self, resource: Resource, obj: Object) -> Object:
        """See ``Registry``."""
        strategy = self._strategies.get(resource)
        return strategy.defaulted(obj) if strategy is not None else obj

    def create(self, resource: Resource, obj: Object, context: WriteContext) -> Decision:
        """See ``Registry``."""
        if resource is ACCESS_REVIEWS:
            return Decision({**obj, "status": {"allowed": True}}, ())
        obj = to_core_v1(obj) if resource is EVENTS else obj
        namespace = (obj.get("metadata") or {}).get("namespace", "")
        metadata = new_metadata(
            obj,
            context.now,
            self._random,
            lambda name: self._view.get(resource, Key(namespace, name)) is not None,
        )
        strategy = self._strategies[resource]
        if strategy.has_generation:
            metadata["generation"] = 1
        name = metadata.get("name", "")
        faults = metadata_faults(resource, metadata)
        prepared = strategy.prepare({**obj, "metadata": {"name": "", **metadata}}, None)
        _refuse(resource, name, [*faults, *strategy.faults(prepared, None)])
        self._check_namespace(resource, name, namespace)
        key = key_of(prepared)
        if self._view.get(resource, key) is not None:
            raise status.already_exists(resource, name)
        given, faults_or_none = strategy.allocate(prepared, None)
        _refuse(resource, name, faults_or_none)
        writes = [Write(resource, key, given), *strategy.companions(given, None, context)]
        return Decision(given, writes, strategy.warnings(given, None))

    def _check_namespace(self, resource: Resource, name: str, namespace: str) -> None:
        if not resource.namespaced:
            return
        found = self._view.get(NAMESPACES, Key("", namespace))
        if found is None:
            raise status.not_found(NAMESPACES, namespace)
        if "deletionTimestamp" in found["metadata"] and resource not in {EVENTS, CORE_EVENTS}:
            why = (
                f"unable to create new content in namespace {namespace} because it is being "
                "terminated"
            )
            raise status.forbidden(resource, name, why)

    def update(
        self, resource: Resource, old: Object, new: Object, subresource: str, context: WriteContext
    ) -> Decision:
        """See ``Registry``."""
        if subresource == "binding":
            return self._stored(resource, old, bound(old, new, context), context)
        if subresource == "scale":
            new = from_scale(old, new)
        if subresource == "finalize":
            changed = {**old, "spec": {**old["spec"], **(new.get("spec") or {})}}
            return self._stored(resource, old, changed, context)
        new = to_core_v1(new) if resource is EVENTS else new
        new = {**new, "metadata": updated_metadata(old, new)}
        strategy = self._strategies[resource]
        name = old["metadata"]["name"]
        if subresource == "status":
            changed = strategy.status_of(new, old)
            _refuse(resource, name, strategy.status_faults(changed, old))
            return self._stored(resource, old, changed, context)
        prepared = strategy.prepare(new, old)
        faults = [*update_faults(old, prepared), *strategy.faults(prepared, old)]
        _refuse(resource, name, faults)
        given, faults_or_none = strategy.allocate(prepared, old)
        _refuse(resource, name, faults_or_none)
        if strategy.has_generation and _wanted(given) != _wanted(old):
            generation = old["metadata"].get("generation", 1) + 1
            given = {**given, "metadata": {**given["metadata"], "generation": generation}}
        return self._stored(resource, old, given, context)

    def _stored(
        self, resource: Resource, old: Object, new: Object, context: WriteContext
    ) -> Decision:
        """The state that is stored: none if nobody holds what was deleted any more."""
        strategy = self._strategies[resource]
        warnings = strategy.warnings(new, old)
        if new == old:
            return Decision(old, (), warnings)
        key = key_of(old)
        if self._is_over(resource, new):
            writes = [Write(resource, key, None), *strategy.companions(None, old, context)]
            return Decision(new, writes, warnings)
        writes = [Write(resource, key, new), *strategy.companions(new, old, context)]
        return Decision(new, writes, warnings)

    def _is_over(self, resource: Resource, obj: Object) -> bool:
        """Whether an object that was deleted has nothing left to wait for."""
        metadata = obj["metadata"]
        if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
            return False
        if resource is NAMESPACES:
            return not (obj.get("spec") or {}).get("finalizers")
        return not metadata.get("deletionGracePeriodSeconds")

    def delete(
        self, resource: Resource, old: Object, options: DeleteOptions, context: WriteContext
    ) -> Decision:
        """See ``Registry``."""
        name = old["metadata"]["name"]
        _check_preconditions(resource, old, options)
        if resource is NAMESPACES and name in _WITHOUT_END:
            raise status.forbidden(resource, name, "this namespace may not be deleted")
        marked = _with_propagation(old, options)
        strategy = self._strategies[resource]
        leaving = strategy.leaving(marked, options, context)
        if leaving is None and marked["metadata"].get("finalizers"):
            leaving = _marked(marked, context)
        if leaving is not None:
            return self._stored(resource, old, leaving, context)
        writes = [Write(resource, key_of(old), None), *strategy.companions(None, old, context)]
        return Decision(_ended(resource, marked, context), writes)

    def observe(self, writes: Sequence[Write]) -> None:
        """See ``Registry``."""
        for write in writes:
            if write.resource is SERVICES:
                self._ports.put(write.key, write.object)

    def rebuild(self, view: View) -> None:
        """See ``Registry``."""
        self._ports.clear()
        for service in view.list(SERVICES):
            self._ports.put(key_of(service), service)


def _refuse(resource: Resource, name: str, faults: Sequence[Cause]) -> None:
    if faults:
        raise status.invalid(resource, name, faults)


def _wanted(obj: Object) -> Object:
    """What generation counts: everything but metadata and status."""
    return {name: value for name, value in obj.items() if name not in {"metadata", "status"}}


def _check_preconditions(resource: Resource, old: Object, options: DeleteOptions) -> None:
    name = old["metadata"]["name"]
    if options.uid and options.uid != uid_of(old):
        why = f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: "
        raise status.conflict(resource, name, why + uid_of(old))
    version = old["metadata"].get("resourceVersion", "")
    if options.resource_version and options.resource_version != version:
        why = (
            "Precondition failed: ResourceVersion in precondition: "
            f"{options.resource_version}, ResourceVersion in object meta: {version}"
        )
        raise status.conflict(resource, name, why)


def _with_propagation(obj: Object, options: DeleteOptions) -> Object:
    """What depends on an object goes before it, or is told to stay: finalizers say so."""
    wanted = {"Foreground": _FOREGROUND, "Orphan": _ORPHAN}.get(options.propagation)
    metadata = obj["metadata"]
    before = list(metadata.get("finalizers") or ())
    finalizers = [each for each in before if each not in {_FOREGROUND, _ORPHAN}]
    if wanted:
        finalizers.append(wanted)
    elif not options.propagation:
        finalizers = before
    if finalizers == before:
        return obj
    metadata = {**metadata, "finalizers": finalizers}
    if not finalizers:
        del metadata["finalizers"]
    return {**obj, "metadata": metadata}


def _marked(obj: Object, context: WriteContext) -> Object:
    """On its way out, held by its finalizers."""
    metadata = obj["metadata"]
    if "deletionTimestamp" in metadata:
        return obj
    metadata = {
        **metadata,
        "deletionTimestamp": rfc3339(context.now),
        "deletionGracePeriodSeconds": 0,
    }
    return {**obj, "metadata": metadata}


def _ended(resource: Resource, obj: Object, context: WriteContext) -> Object:
    """How an object that is gone is told; of Pods when they were deleted."""
    if resource is not PODS:
        return obj
    return _marked(obj, context)
