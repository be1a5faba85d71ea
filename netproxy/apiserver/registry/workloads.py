"""Deployments and ReplicaSets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.registry import causes
from netproxy.apiserver.registry.metadata import label_faults
from netproxy.apiserver.registry.pods import pod_spec_defaults, pod_spec_faults
from netproxy.apiserver.registry.strategy import Strategy

_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")
_PERCENT = re.compile(r"\d+%\Z")


class WorkloadStrategy(Strategy):
    """What Deployments and ReplicaSets have in common: replicas, a selector, a template."""

    has_generation = True

    def defaulted(self, obj: Object) -> Object:
        """One replica; the template is a Pod's."""
        spec = dict(obj.get("spec") or {})
        spec.setdefault("replicas", 1)
        template = spec.get("template") or {}
        if template.get("spec") is not None:
            spec["template"] = {**template, "spec": pod_spec_defaults(template["spec"])}
        return {**obj, "spec": spec}

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """Defaults; the status is the controller's."""
        status = {} if old is None else old.get("status") or {}
        return {**self.defaulted(obj), "status": status}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """Replicas, selector, template."""
        spec = obj["spec"]
        found: list[Cause] = []
        if spec["replicas"] < 0:
            why = "must be greater than or equal to 0"
            found.append(causes.invalid("spec.replicas", spec["replicas"], why))
        found += _selector_faults(spec.get("selector"))
        template = spec.get("template") or {}
        if not template.get("spec"):
            found.append(causes.required("spec.template.spec"))
            return found
        found += pod_spec_faults(template["spec"], "spec.template.spec")
        if template["spec"]["restartPolicy"] != "Always":
            field = "spec.template.spec.restartPolicy"
            found.append(
                causes.not_supported(field, template["spec"]["restartPolicy"], ("Always",))
            )
        labels = (template.get("metadata") or {}).get("labels") or {}
        found += label_faults(labels, "spec.template.metadata.labels")
        if spec.get("selector") and not found and not selects(spec["selector"], labels):
            why = "`selector` does not match template `labels`"
            found.append(causes.invalid("spec.template.metadata.labels", labels, why))
        if old is not None and old["spec"].get("selector") != spec.get("selector"):
            found.append(
                causes.invalid("spec.selector", spec.get("selector"), "field is immutable")
            )
        return found


class DeploymentStrategy(WorkloadStrategy):
    """Deployments: how pods are replaced besides."""

    def defaulted(self, obj: Object) -> Object:
        """Rolling updates by a quarter."""
        filled = super().defaulted(obj)
        spec = dict(filled["spec"])
        strategy = dict(spec.get("strategy") or {})
        strategy["type"] = strategy.get("type") or "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            quarter = {"maxUnavailable": "25%", "maxSurge": "25%"}
            strategy["rollingUpdate"] = {**quarter, **(strategy.get("rollingUpdate") or {})}
        spec["strategy"] = strategy
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        return {**filled, "spec": spec}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """How pods are replaced."""
        found = list(super().faults(obj, old))
        strategy = obj["spec"]["strategy"]
        known = ("Recreate", "RollingUpdate")
        if strategy["type"] not in known:
            found.append(causes.not_supported("spec.strategy.type", strategy["type"], known))
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "Recreate" and rolling:
            why = "may not be specified when strategy `type` is 'Recreate'"
            found.append(causes.forbidden("spec.strategy.rollingUpdate", why))
        elif strategy["type"] == "RollingUpdate" and rolling:
            found += _rolling_faults(rolling)
        for name in ("minReadySeconds", "revisionHistoryLimit"):
            if obj["spec"].get(name, 0) < 0:
                why = "must be greater than or equal to 0"
                found.append(causes.invalid(f"spec.{name}", obj["spec"][name], why))
        return found


def _rolling_faults(rolling: Object) -> list[Cause]:
    found = []
    for name in ("maxUnavailable", "maxSurge"):
        value = rolling[name]
        if isinstance(value, str) and not _PERCENT.match(value):
            why = "a valid percent string must be a numeric string followed by an ending '%'"
            found.append(causes.invalid(f"spec.strategy.rollingUpdate.{name}", value, why))
        elif isinstance(value, int) and value < 0:
            why = "must be greater than or equal to 0"
            found.append(causes.invalid(f"spec.strategy.rollingUpdate.{name}", value, why))
    if not found and all(rolling[name] in {0, "0%"} for name in ("maxUnavailable", "maxSurge")):
        why = "may not be 0 when `maxSurge` is 0"
        field = "spec.strategy.rollingUpdate.maxUnavailable"
        found.append(causes.invalid(field, rolling["maxUnavailable"], why))
    return found


def _selector_faults(selector: Any) -> list[Cause]:
    if not selector:
        return [causes.required("spec.selector")]
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        why = "empty selector is invalid for deployment"
        return [causes.invalid("spec.selector", selector, why)]
    found = label_faults(selector.get("matchLabels") or {}, "spec.selector.matchLabels")
    for index, each in enumerate(selector.get("matchExpressions") or ()):
        field = f"spec.selector.matchExpressions[{index}]"
        operator, values = each.get("operator"), each.get("values") or ()
        if operator not in _OPERATORS:
            found.append(causes.not_supported(f"{field}.operator", operator, _OPERATORS))
        elif operator in {"In", "NotIn"} and not values:
            why = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(causes.required(f"{field}.values", why))
        elif operator in {"Exists", "DoesNotExist"} and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(causes.forbidden(f"{field}.values", why))
    return found


def selects(selector: Object, labels: Object) -> bool:
    """Whether a ``LabelSelector`` selects an object with these labels."""
    if any(
        labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()
    ):
        return False
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], each.get("values") or ()
        if each["operator"] == "In" and labels.get(key) not in values:
            return False
        if each["operator"] == "NotIn" and key in labels and labels[key] in values:
            return False
        if each["operator"] == "Exists" and key not in labels:
            return False
        if each["operator"] == "DoesNotExist" and key in labels:
            return False
    return True
