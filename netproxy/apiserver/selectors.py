"""Which objects a list or a watch selects: by labels, and by a few fields.

What fields a kind can be selected by is listed in ``_FIELDS``, as Kubernetes 1.36 has it. Most
objects are looked at through their labels and names alone, without decoding them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from netproxy.api.labels import LabelSelector, parse_label_selector
from netproxy.api.objects import Object
from netproxy.api.resources import (
    CORE_EVENTS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Resource,
)
from netproxy.api.status import bad_request
from netproxy.apiserver.pages import Matches
from netproxy.apiserver.storage.stored import Stored

Path = tuple[str, ...]
"""Of a field, member by member."""

_NAME: Path = ("metadata", "name")
_NAMESPACE: Path = ("metadata", "namespace")
_COMPONENT: Path = ("reportingComponent",)
_SOURCE: Path = ("source", "component")
_SWITCHES = frozenset({("spec", "unschedulable"), ("spec", "hostNetwork")})
"""Booleans: absent is false."""
_INVOLVED = (
    "kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath",
)  # fmt: skip


def _paths(*names: str) -> dict[str, Path]:
    return {name: tuple(name.split(".")) for name in names}


_FIELDS: Mapping[Resource, Mapping[str, Path]] = MappingProxyType(
    {
        SERVICES: _paths("metadata.name", "metadata.namespace", "spec.clusterIP", "spec.type"),
        PODS: {
            **_paths(
                "metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy",
                "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
                "status.phase", "status.podIP", "status.nominatedNodeName",
            ),
            "spec.host": ("spec", "nodeName"),
        },
        NODES: _paths("metadata.name", "spec.unschedulable"),
        NAMESPACES: _paths("metadata.name", "status.phase"),
        CORE_EVENTS: {
            **_paths("metadata.name", "metadata.namespace", "reason", "type"),
            **_paths(*(f"involvedObject.{name}" for name in _INVOLVED)),
            "reportingComponent": _COMPONENT,
            "source": _SOURCE,
        },
        # Events are stored as v1 has them, whatever they are asked for as.
        EVENTS: {
            **_paths("metadata.name", "metadata.namespace", "reason", "type"),
            **{f"regarding.{name}": ("involvedObject", name) for name in _INVOLVED},
            "reportingController": _COMPONENT,
        },
    }
)  # fmt: skip
_METADATA = MappingProxyType(_paths("metadata.name", "metadata.namespace"))

_TERM = re.compile(r"(?:[^\\,]|\\.|\\\Z)+|,", re.DOTALL)
_OPERATOR = re.compile(r"!=|==|=")
_ESCAPED = re.compile(r"\\(.?)|[,=]", re.DOTALL)


class FieldRequirement(NamedTuple):
    """What one field must be, or must not be."""

    path: Path
    value: str
    is_equal: bool = True


def matcher(resource: Resource, labels: str, fields: str) -> Matches | None:
    """What a list or a watch selects; None if that is everything.

    Args:
        resource: Of what.
        labels: ``labelSelector``.
        fields: ``fieldSelector``.

    Raises:
        StatusError: 400: a selector is not understood, or a field cannot be selected by.
    """
    by_label = _label_matcher(parse_label_selector(labels)) if labels else None
    by_field = _field_matcher(parse_field_selector(resource, fields)) if fields else None
    if by_label is None or by_field is None:
        return by_label or by_field
    # What the labels leave is seldom worth decoding.
    return lambda state: by_label(state) and by_field(state)


def parse_field_selector(resource: Resource, text: str) -> tuple[FieldRequirement, ...]:
    """Such as ``metadata.name=web,status.phase!=Failed``; all of them must hold.

    Raises:
        StatusError: 400.
    """
    found = []
    for term in _TERM.findall(text):
        if term == ",":
            continue
        operator = _OPERATOR.search(term)
        if operator is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        path = _path(resource, term[: operator.start()])
        value = _ESCAPED.sub(_unescaped, term[operator.end() :])
        found.append(FieldRequirement(path, value, operator[0] != "!="))
    return tuple(found)


def _unescaped(match: re.Match[str]) -> str:
    if not match[0].startswith("\\"):
        raise bad_request(f"invalid field selector: unescaped character in value: {ord(match[0])}")
    if match[1] not in {"\\", ",", "="}:
        raise bad_request(f"invalid field selector: invalid escape sequence: {match[0]}")
    return match[1]


def _path(resource: Resource, name: str) -> Path:
    fields = _FIELDS.get(resource)
    if path := (fields or _METADATA).get(name):
        return path
    if fields is not None:
        raise bad_request(f"field label not supported: {name}")
    raise bad_request(
        f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def _label_matcher(selector: LabelSelector) -> Matches | None:
    if not selector.requirements:
        return None
    if len(selector.requirements) == 1:
        key, operator, values = selector.requirements[0]
        if operator == "in" and len(values) == 1:
            (only,) = values
            return lambda state: state.labels.get(key) == only
        requirement = selector.requirements[0]
        return lambda state: requirement.matches(state.labels)
    return lambda state: selector.matches(state.labels)


def _field_matcher(requirements: tuple[FieldRequirement, ...]) -> Matches | None:
    """Names first: they are known without decoding."""
    by_key = [each for each in map(_key_test, requirements) if each is not None]
    inside = [each for each in requirements if each.path not in {_NAME, _NAMESPACE}]

    def matches(state: Stored) -> bool:
        for test in by_key:
            if not test(state):
                return False
        return not inside or has_fields(state.object, inside)

    if not requirements:
        return None
    return by_key[0] if len(by_key) == 1 and not inside else matches


def _key_test(requirement: FieldRequirement) -> Callable[[Stored], bool] | None:
    path, value, is_equal = requirement
    if path == _NAME:
        return lambda state: (state.key.name == value) is is_equal
    if path == _NAMESPACE:
        return lambda state: (state.key.namespace == value) is is_equal
    return None


def has_fields(obj: Object, requirements: list[FieldRequirement]) -> bool:
    """Whether an object is as required."""
    return all((_text(obj, path) == value) is is_equal for path, value, is_equal in requirements)


def _text(obj: Object, path: Path) -> str:
    """A field as selectors see it: what is absent is empty."""
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if path == _SOURCE and not value:
        return _text(obj, _COMPONENT)
    if path in _SWITCHES:
        return "true" if value else "false"
    return "" if value is None else str(value)
