"""Label selectors: in the words of a URL, and as a ``LabelSelector`` of an object.

Syntax, rules and sentences are those of Kubernetes 1.36.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from netproxy.api.status import StatusError, bad_request

Operator: TypeAlias = Literal["in", "notin", "exists", "!", "gt", "lt"]

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^=!(),<> \t\r\n]+|\Z)")
_OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {"=": "in", "==": "in", "in": "in", "!=": "notin", "notin": "notin", ">": "gt", "<": "lt"}
)
_SYMBOLS = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">", ""})
_BINARY = "in, notin, =, ==, !=, gt, lt"
_EXPRESSIONS: Mapping[str, Operator] = MappingProxyType(
    {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
)

_LONGEST = 63
_LONGEST_PREFIX = 253
_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z")
_OF_NAMES = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_OF_VALUES = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
    "'12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_OF_PREFIXES = (
    "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric "
    "characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
    "'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


class Requirement(NamedTuple):
    """What one label must be like."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()
    """Of ``in`` and ``notin`` some, of ``gt`` and ``lt`` one, a whole number."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are like this; a label that is not there is not in any values."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _INTEGER.match(value):
            return False
        (limit,) = self.values
        return int(value) > int(limit) if self.operator == "gt" else int(value) < int(limit)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements together."""

    requirements: tuple[Requirement, ...] = ()
    is_nothing: bool = False
    """Nothing is selected, whatever is required."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return not self.is_nothing and all(each.matches(labels) for each in self.requirements)


def key_faults(key: str) -> Iterator[str]:
    """What is wrong with the key of a label (or annotation), as the API says it."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield (
            f"a valid label key {_OF_NAMES} with an optional DNS subdomain prefix and '/' (e.g. "
            "'example.com/MyName')"
        )
        return
    if slash and not prefix:
        yield "prefix part must be non-empty"
    elif slash:
        if len(prefix.encode()) > _LONGEST_PREFIX:
            yield f"prefix part must be no more than {_LONGEST_PREFIX} bytes"
        if not _SUBDOMAIN.match(prefix):
            yield _OF_PREFIXES
    if not name:
        yield "name part must be non-empty"
    elif len(name.encode()) > _LONGEST:
        yield f"name part must be no more than {_LONGEST} bytes"
    if not _NAME.match(name):
        yield f"name part {_OF_NAMES}"


def value_faults(value: str) -> Iterator[str]:
    """What is wrong with the value of a label, as the API says it."""
    if len(value.encode()) > _LONGEST:
        yield f"must be no more than {_LONGEST} bytes"
    if value and not _NAME.match(value):
        yield _OF_VALUES


@cache
def _everything() -> LabelSelector:
    return LabelSelector()


def parse_label_selector(text: str) -> LabelSelector:
    """Such as ``app=web,tier in (a,b),!old``; nothing selects everything.

    Raises:
        StatusError: 400.
    """
    if not text:
        return _everything()
    return LabelSelector(tuple(_Parser(text).requirements()))


class _Parser:
    """Reads from left to right, one word ahead."""

    def __init__(self, text: str) -> None:
        self._words = _TOKEN.findall(text)
        self._at = 0

    def requirements(self) -> Iterator[Requirement]:
        while word := self._next():
            if word in _SYMBOLS and word != "!":
                raise _unexpected(word, "!, identifier, or 'end of string'")
            yield self._requirement(word)
            word = self._next()
            if word not in {"", ","}:
                raise _unexpected(word, "',' or 'end of string'")
            if word and self._ahead in _SYMBOLS - {"!"}:
                raise _unexpected(self._ahead, "identifier after ','")

    @property
    def _ahead(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _next(self) -> str:
        word = self._ahead
        self._at += 1
        return word

    def _requirement(self, word: str) -> Requirement:
        is_refused = word == "!"
        key = self._next() if is_refused else word
        if key in _SYMBOLS:
            raise _not_understood(f"found '{key}', expected: identifier")
        if faults := list(key_faults(key)):
            raise _not_understood(f"<nil>: Invalid value: {_quoted(key)}: {'; '.join(faults)}")
        if is_refused or self._ahead in {"", ","}:
            return Requirement(key, "!" if is_refused else "exists")
        sign = self._next()
        operator = _OPERATORS.get(sign)
        if operator is None:
            raise _not_understood(f"found '{sign}', expected: {_BINARY}")
        values = self._values() if sign in {"in", "notin"} else [self._value()]
        return _requirement(key, operator, values)

    def _value(self) -> str:
        if self._ahead in {"", ","}:
            return ""
        word = self._next()
        if word in _SYMBOLS:
            raise _not_understood(f"found '{word}', expected: identifier")
        return word

    def _values(self) -> Sequence[str]:
        """As in ``(a,b,)``: between commas there may be nothing, which is a value."""
        word = self._next()
        if word != "(":
            raise _not_understood(f"found '{word}' expected: '('")
        if self._ahead in _SYMBOLS - {",", ")"}:
            raise _not_understood(f"found '{self._ahead}', expected: ',', ')' or identifier")
        values = []
        while True:
            if self._ahead in {",", ")"}:
                values.append("")
            elif (word := self._next()) in _SYMBOLS:
                raise _not_understood(f"found '{word}', expected: ',', or identifier")
            else:
                values.append(word)
            if self._ahead not in {",", ")"}:
                raise _not_understood(f"found '{self._ahead}', expected: ',' or ')'")
            if self._next() == ")":
                return sorted(set(values))


def _requirement(key: str, operator: Operator, values: Sequence[str]) -> Requirement:
    faults = []
    if operator in {"gt", "lt"} and not _INTEGER.match(values[0]):
        what = "for 'Gt', 'Lt' operators, the value must be an integer"
        faults.append(f"values[0]: Invalid value: {_quoted(values[0])}: {what}")
    for index, value in enumerate(values):
        if wrong := list(value_faults(value)):
            faults.append(
                f"values[{index}][{key}]: Invalid value: {_quoted(value)}: {'; '.join(wrong)}"
            )
    if faults:
        raise _not_understood(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")
    return Requirement(key, operator, frozenset(values))


def _quoted(text: str) -> str:
    """As Go quotes a string (``%q``)."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in quoted)


def _unexpected(word: str, wanted: str) -> StatusError:
    return bad_request(f"found '{word}', expected: {wanted}")


def _not_understood(what: str) -> StatusError:
    return bad_request(f"unable to parse requirement: {what}")


def read_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A ``LabelSelector`` of meta/v1, with ``matchLabels`` and ``matchExpressions``.

    None selects nothing, an empty one everything.

    Raises:
        StatusError: 400, an operator is unknown, or does not fit its values.
    """
    if selector is None:
        return LabelSelector(is_nothing=True)
    labels = selector.get("matchLabels") or {}
    found = [Requirement(key, "in", frozenset({value})) for key, value in labels.items()]
    for expression in selector.get("matchExpressions") or []:
        operator = _EXPRESSIONS.get(expression.get("operator", ""))
        values = frozenset(expression.get("values") or [])
        if operator is None:
            raise bad_request(
                f'"{expression.get("operator", "")}" is not a valid label selector operator'
            )
        if bool(values) is not (operator in {"in", "notin"}):
            what = (
                "values set must be empty for exists and does not exist"
                if values
                else "for 'in', 'notin' operators, values set can't be empty"
            )
            raise bad_request(f"values: Invalid value: {what}")
        found.append(Requirement(expression.get("key", ""), operator, values))
    return LabelSelector(tuple(found))
