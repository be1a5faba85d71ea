"""Label and field selectors of lists and watches."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.pages import Matches
from netproxy.apiserver.registry.names import label_value_faults, qualified_faults
from netproxy.apiserver.storage.stored import Stored

_TOKEN = re.compile(r"\s*(!=|==|=|!|,|\(|\)|[^\s=!,()]+)")
_WORD = re.compile(r"[^\s=!,()]+\Z")

_METADATA = ("metadata.name", "metadata.namespace")
FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "services": ("spec.clusterIP", "spec.type"),
        "nodes": ("spec.unschedulable",),
        "namespaces": ("status.phase",),
        "pods": (
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
            "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
        ),
        "events": (
            "involvedObject.kind", "involvedObject.namespace", "involvedObject.name",
            "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",
            "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
        ),
        "events.events.k8s.io": (
            "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
            "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
            "reason", "reportingController", "type",
        ),
        "replicasets.apps": ("status.replicas",),
    }
)  # fmt: skip
"""Further fields that can be asked for, by ``Resource.qualified`` (kube-apiserver 1.36)."""
_STORED_AS = MappingProxyType(
    {"regarding": "involvedObject", "reportingController": "reportingComponent"}
)


class Requirement(NamedTuple):
    """One condition on labels."""

    key: str
    operator: str
    """One of ``=``, ``!=``, ``in``, ``notin``, ``exists``, ``!``."""
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; what is not there is not equal to anything."""
        value = labels.get(self.key)
        if self.operator in {"=", "in"}:
            return value in self.values
        if self.operator in {"!=", "notin"}:
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "exists")


class FieldRequirement(NamedTuple):
    """One condition on a field."""

    path: tuple[str, ...]
    value: str
    is_equal: bool

    def holds(self, key: Key, obj: Callable[[], Object]) -> bool:
        """Whether an object meets it; decoded only for fields other than its name."""
        if self.path == ("metadata", "name"):
            found = key.name
        elif self.path == ("metadata", "namespace"):
            found = key.namespace
        else:
            found = _text(_reached(obj(), self.path))
        return (found == self.value) == self.is_equal


def matcher(resource: Resource, labels: str, fields: str) -> Matches | None:
    """Whether a state is selected, as one question; None: everything is.

    Args:
        resource: Of what; decides which fields can be asked for.
        labels: A label selector, as in a query.
        fields: A field selector.

    Raises:
        StatusError: 400, one of them cannot be understood.
    """
    required = parse_labels(labels)
    fielded = parse_fields(resource, fields)
    if not required and not fielded:
        return None

    def matches(state: Stored) -> bool:
        return all(each.holds(state.labels) for each in required) and all(
            each.holds(state.key, lambda: state.object) for each in fielded
        )

    return matches


def parse_labels(text: str) -> list[Requirement]:
    """A label selector: ``app=web,tier in (front, back),!old``.

    Raises:
        StatusError: 400.
    """
    tokens = _TOKEN.findall(text)
    found = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at, text)
        _check(requirement)
        found.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise _unable(text, f"found '{tokens[at]}', expected: ',' or 'end of string'")
            at += 1
            if at == len(tokens):
                raise _unable(text, "found '', expected: identifier after ','")
    return found


def _requirement(tokens: Sequence[str], at: int, text: str) -> tuple[Requirement, int]:
    if tokens[at] == "!":
        key = _word(tokens, at + 1, text)
        return Requirement(key, "!"), at + 2
    key = _word(tokens, at, text)
    at += 1
    operator = tokens[at] if at < len(tokens) else ","
    if operator == ",":
        return Requirement(key, "exists"), at
    at += 1
    if operator in {"=", "==", "!="}:
        value = ""
        if at < len(tokens) and tokens[at] != ",":
            value, at = _word(tokens, at, text), at + 1
        return Requirement(key, "!=" if operator == "!=" else "=", frozenset({value})), at
    if operator not in {"in", "notin"}:
        raise _unable(text, f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")
    values, at = _values(tokens, at, text)
    return Requirement(key, operator, values), at


def _values(tokens: Sequence[str], at: int, text: str) -> tuple[frozenset[str], int]:
    if at >= len(tokens) or tokens[at] != "(":
        raise _unable(text, f"found '{_at(tokens, at)}', expected: '('")
    found: list[str] = []
    last = ","
    at += 1
    while at < len(tokens) and tokens[at] != ")":
        word = tokens[at]
        if word != "," and (last != "," or not _WORD.match(word)):
            raise _unable(text, f"found '{word}', expected: ',' or ')'")
        if word != ",":
            found.append(word)
        elif last == ",":
            found.append("")
        last = word
        at += 1
    if at >= len(tokens):
        raise _unable(text, "found '', expected: ')'")
    if last == ",":
        found.append("")
    return frozenset(found), at + 1


def _word(tokens: Sequence[str], at: int, text: str) -> str:
    token = _at(tokens, at)
    if not _WORD.match(token):
        raise _unable(text, f"found '{token}', expected: identifier")
    return token


def _at(tokens: Sequence[str], at: int) -> str:
    return tokens[at] if at < len(tokens) else ""


def _check(requirement: Requirement) -> None:
    for why in qualified_faults(requirement.key):
        raise bad_request(
            f'unable to parse requirement: key: Invalid value: "{requirement.key}": {why}'
        )
    for value in sorted(requirement.values):
        for why in label_value_faults(value):
            raise bad_request(
                f"unable to parse requirement: values[0][{requirement.key}]: Invalid value: "
                f'"{value}": {why}'
            )


def _unable(text: str, why: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {why} (in {text!r})")


def parse_fields(resource: Resource, text: str) -> list[FieldRequirement]:
    """A field selector: ``spec.nodeName=n1,status.phase!=Failed``.

    Raises:
        StatusError: 400, also for a field that cannot be asked for.
    """
    known = (*_METADATA, *FIELDS.get(resource.qualified, ()))
    found = []
    for each in filter(None, text.split(",")):
        for operator in ("!=", "==", "="):
            name, sign, value = each.partition(operator)
            if sign:
                break
        else:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{each}'")
        if name not in known:
            raise bad_request(f"field label not supported: {name}")
        found.append(FieldRequirement(_path(name), value, operator != "!="))
    return found


def _path(name: str) -> tuple[str, ...]:
    """Where a field is in what is stored; events are stored as v1."""
    first, *rest = name.split(".")
    if first == "source":
        return ("source", "component")
    return (_STORED_AS.get(first, first), *rest)


def _reached(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
