"""Pods: defaults, what may be said, binding to a node, and leaving with grace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from netproxy.api.objects import Object
from netproxy.api.status import Cause, StatusError, bad_request
from netproxy.apiserver.contract import DeleteOptions, WriteContext
from netproxy.apiserver.registry import causes, names
from netproxy.apiserver.registry.metadata import rfc3339
from netproxy.apiserver.registry.strategy import Strategy

GRACE_S = 30
_RESTART = ("Always", "Never", "OnFailure")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_MUTABLE_OF_CONTAINERS = ("image", "imagePullPolicy")
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")


class PodStrategy(Strategy):
    """Pods of the API; what runs is the node agent's business."""

    has_generation = True

    def defaulted(self, obj: Object) -> Object:
        """See ``pod_spec_defaults``."""
        return {**obj, "spec": pod_spec_defaults(obj.get("spec") or {})}

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """Defaults; the status is the agent's."""
        filled = self.defaulted(obj)
        if old is not None:
            return {**filled, "status": old.get("status") or {}}
        return {**filled, "status": {"phase": "Pending", "qosClass": qos_class(filled["spec"])}}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """The specification; of an update that nothing else has changed."""
        found = pod_spec_faults(obj["spec"], "spec")
        if not found and old is not None and _frozen(old["spec"]) != _frozen(obj["spec"]):
            why = (
                "pod updates may not change fields other than `spec.containers[*].image`,"
                "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
                "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
                "(allow it to be set to 1 if it was previously negative)"
            )
            found.append(causes.forbidden("spec", why))
        return found

    def leaving(self, old: Object, options: DeleteOptions, context: WriteContext) -> Object | None:
        """A Pod that has a node stays until its time is over or its agent says that it is gone."""
        spec, metadata = old["spec"], old["metadata"]
        grace = options.grace_s
        if grace is None:
            grace = spec.get("terminationGracePeriodSeconds", GRACE_S)
        phase = (old.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in {"Succeeded", "Failed"}:
            grace = 0
        if grace == 0:
            return None
        known = metadata.get("deletionGracePeriodSeconds")
        if known is not None and known <= grace:
            return old
        leaves = context.now + timedelta(seconds=grace)
        marked = {
            **metadata,
            "deletionTimestamp": rfc3339(leaves),
            "deletionGracePeriodSeconds": grace,
            "generation": metadata.get("generation", 1) + 1,
        }
        return {**old, "metadata": marked}


def bound(pod: Object, binding: Object, context: WriteContext) -> Object:
    """A Pod that gets its node.

    Raises:
        StatusError: 400 or 409.
    """
    target = binding.get("target") or {}
    node = target.get("name", "")
    name = pod["metadata"]["name"]
    if target.get("kind", "Node") not in {"Node", "Minion", ""} or not node:
        raise bad_request("target: must name a Node")
    uid = (binding.get("metadata") or {}).get("uid")
    if uid and uid != pod["metadata"]["uid"]:
        raise _not_bound(name, "the pod is another one by now")
    if "deletionTimestamp" in pod["metadata"]:
        raise _not_bound(name, f"pod {name} is being deleted, cannot be assigned to a host")
    has = pod["spec"].get("nodeName")
    if has:
        raise _not_bound(name, f'pod {name} is already assigned to node "{has}"')
    scheduled = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(context.now),
    }
    status = pod.get("status") or {}
    others = [each for each in status.get("conditions") or () if each["type"] != "PodScheduled"]
    scheduled = {field: value for field, value in scheduled.items() if value is not None}
    annotations = (binding.get("metadata") or {}).get("annotations")
    metadata = pod["metadata"]
    if annotations:
        metadata = {
            **metadata,
            "annotations": {**(metadata.get("annotations") or {}), **annotations},
        }
    return {
        **pod,
        "metadata": metadata,
        "spec": {**pod["spec"], "nodeName": node},
        "status": {**status, "conditions": [*others, scheduled]},
    }


def _not_bound(name: str, why: str) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}',
        details={"name": name, "kind": "pods/binding"},
    )


def pod_spec_defaults(spec: Object) -> Object:
    """A Pod's specification with what its absent fields mean."""
    filled = dict(spec)
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", GRACE_S),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("enableServiceLinks", True),
        ("securityContext", {}),
    ):
        filled.setdefault(name, value)
    for part in ("initContainers", "containers"):
        if filled.get(part):
            filled[part] = [
                _container(each, is_host=bool(spec.get("hostNetwork"))) for each in filled[part]
            ]
    return filled


def _container(container: Object, *, is_host: bool) -> Object:
    filled = dict(container)
    image = filled.get("image", "")
    is_latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
    filled.setdefault("imagePullPolicy", "Always" if is_latest else "IfNotPresent")
    filled.setdefault("terminationMessagePath", "/dev/termination-log")
    filled.setdefault("terminationMessagePolicy", "File")
    filled.setdefault("resources", {})
    if filled.get("ports"):
        filled["ports"] = [_container_port(each, is_host=is_host) for each in filled["ports"]]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if filled.get(probe):
            filled[probe] = _probe(filled[probe])
    return filled


def _container_port(port: Object, *, is_host: bool) -> Object:
    filled = {**port, "protocol": port.get("protocol") or "TCP"}
    if is_host and not filled.get("hostPort"):
        filled["hostPort"] = filled.get("containerPort", 0)
    return filled


def _probe(probe: Object) -> Object:
    filled = dict(probe)
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not filled.get(name):
            filled[name] = value
    if filled.get("httpGet"):
        filled["httpGet"] = {"path": "/", "scheme": "HTTP", **filled["httpGet"]}
    return filled


def qos_class(spec: Object) -> str:
    """BestEffort, Burstable or Guaranteed, from what its containers ask for."""
    asked = [each.get("resources") or {} for each in _containers(spec)]
    if not any(each.get("requests") or each.get("limits") for each in asked):
        return "BestEffort"
    for each in asked:
        limits = each.get("limits") or {}
        requests = {**limits, **(each.get("requests") or {})}
        if not {"cpu", "memory"} <= limits.keys() or any(
            requests[name] != limits[name] for name in ("cpu", "memory")
        ):
            return "Burstable"
    return "Guaranteed"


def _containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def pod_spec_faults(spec: Object, field: str) -> list[Cause]:
    """What is wrong with a defaulted specification."""
    found: list[Cause] = []
    if not spec.get("containers"):
        found.append(causes.required(f"{field}.containers"))
    seen: set[str] = set()
    for part in ("initContainers", "containers"):
        for index, each in enumerate(spec.get(part) or ()):
            found += _container_faults(each, f"{field}.{part}[{index}]", seen)
    if spec["restartPolicy"] not in _RESTART:
        found.append(
            causes.not_supported(f"{field}.restartPolicy", spec["restartPolicy"], _RESTART)
        )
    grace = spec["terminationGracePeriodSeconds"]
    if grace < 0:
        why = "must be greater than or equal to 0"
        found.append(causes.invalid(f"{field}.terminationGracePeriodSeconds", grace, why))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            where = f"{field}.{name}"
            found += [
                causes.invalid(where, spec[name], why) for why in names.label_faults(spec[name])
            ]
    if spec.get("nodeName"):
        where = f"{field}.nodeName"
        found += [
            causes.invalid(where, spec["nodeName"], why)
            for why in names.subdomain_faults(spec["nodeName"])
        ]
    return found


def _container_faults(container: Object, field: str, seen: set[str]) -> list[Cause]:
    found: list[Cause] = []
    name = container.get("name", "")
    if not name:
        found.append(causes.required(f"{field}.name"))
    elif name in seen:
        found.append(causes.duplicate(f"{field}.name", name))
    else:
        found += [causes.invalid(f"{field}.name", name, why) for why in names.label_faults(name)]
    seen.add(name)
    if not container.get("image"):
        found.append(causes.required(f"{field}.image"))
    port_names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        found += _container_port_faults(port, f"{field}.ports[{index}]", port_names)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            found += _probe_faults(container[probe], f"{field}.{probe}", probe)
    for index, each in enumerate(container.get("env") or ()):
        if not each.get("name"):
            found.append(causes.required(f"{field}.env[{index}].name"))
    return found


def _container_port_faults(port: Object, field: str, seen: set[str]) -> list[Cause]:
    found: list[Cause] = []
    name = port.get("name") or ""
    if name:
        found += [causes.invalid(f"{field}.name", name, w) for w in names.port_name_faults(name)]
        if name in seen:
            found.append(causes.duplicate(f"{field}.name", name))
        seen.add(name)
    number = port.get("containerPort", 0)
    if not 1 <= number <= 65535:
        why = "must be between 1 and 65535, inclusive"
        found.append(causes.invalid(f"{field}.containerPort", number, why))
    if port["protocol"] not in _PROTOCOLS:
        found.append(causes.not_supported(f"{field}.protocol", port["protocol"], _PROTOCOLS))
    return found


def _probe_faults(probe: Object, field: str, kind: str) -> list[Cause]:
    handlers = [each for each in _HANDLERS if probe.get(each)]
    found: list[Cause] = []
    if not handlers:
        found.append(causes.required(field, "must specify a handler type"))
    if len(handlers) > 1:
        why = "may not specify more than 1 handler type"
        found.append(causes.forbidden(f"{field}.{handlers[1]}", why))
    for name in ("timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe[name] < 0:
            why = "must be greater than or equal to 0"
            found.append(causes.invalid(f"{field}.{name}", probe[name], why))
    if kind != "readinessProbe" and probe["successThreshold"] != 1:
        found.append(
            causes.invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1")
        )
    return found


def _frozen(spec: Object) -> Object:
    """What an update may not change."""
    kept = {name: value for name, value in spec.items() if name not in _MUTABLE}
    for part in ("initContainers", "containers"):
        if kept.get(part):
            kept[part] = [
                {
                    name: value
                    for name, value in each.items()
                    if name not in {"image", "imagePullPolicy"}
                }
                for each in kept[part]
            ]
    return kept
