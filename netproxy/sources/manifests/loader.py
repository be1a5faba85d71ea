"""YAML the way Kubernetes reads it, and no further than is good for the process.

Rule 1: scalars are read as sigs.k8s.io/yaml does: ``on`` and ``yes`` are booleans, but
timestamps, ``22:22`` and ``=`` are text.
Rule 2: a key that stands twice is an error rather than a riddle.
Rule 3: what would overrun the stack or fill the memory is refused before it does.

Not here: JSON (``documents.py``).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import yaml

_MERGE = "tag:yaml.org,2002:merge"
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_MAX_DEPTH = 100
"""Source: no field of a Kubernetes object that we read is nested deeper than 12."""
_MANY_VALUES = 1_000_000
"""More than this, aliases may not make of a file that is smaller."""
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Refused(yaml.constructor.ConstructorError):
    """It is YAML, but not what a manifest may be."""


class Loader(_BaseLoader):  # type: ignore[misc]
    """The safe loader with the rules above."""

    _merged = 0
    """Keys that ``<<`` has copied so far."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key_node.tag != _MERGE:
                if key in seen:
                    problem = f"the key {key[:80]!r} stands here twice"
                    raise Refused(None, None, problem, key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: Any) -> None:
        """Put in place what ``<<`` stands for; PyYAML's own doubles with every level."""
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        if len(own) == len(node.value):
            return
        taken = {_identity(key) for key, _ in own}
        merged = []
        for source in _merge_sources(node):
            self.flatten_mapping(source)
            self._merged += len(source.value)
            if self._merged > _MANY_VALUES:
                raise Refused(None, None, "<< is used too often", node.start_mark)
            for key, value in source.value:
                if _identity(key) not in taken:
                    taken.add(_identity(key))
                    merged.append((key, value))
        node.value = merged + own


def _identity(key: yaml.Node) -> object:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _merge_sources(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    for key, value in node.value:
        if key.tag == _MERGE:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise Refused(None, None, "<< must name a mapping", source.start_mark)
                yield source


Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in (_INT, _FLOAT) and not tag.endswith((":timestamp", ":value"))
    ]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}
# Not sexagesimal: 1:10:20:30:40:50:1:2 is an address. And no longer than a number can be.
Loader.add_implicit_resolver(
    _INT,
    re.compile(r"[-+]?(0b[01]{1,99}|0x[0-9a-fA-F]{1,99}|0[0-7_]{1,99}|0|[1-9][0-9_]{0,99})\Z"),
    list("-+0123456789"),
)
Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
    ),
    list("-+.0123456789"),
)


def load(text: str) -> Iterator[object]:
    """Every document of a YAML text; null for empty ones.

    Raises:
        yaml.YAMLError: it is none, or none that a manifest may be.
        RecursionError: it is nested too deeply.
        ValueError, TypeError, IndexError, KeyError, AttributeError: a tag does not fit its value.
    """
    check_depth(text)
    _check_root(text)
    has_aliases = _ALIAS.search(text) is not None
    for document in yaml.load_all(text, Loader):
        if has_aliases:
            _values_in(document, {}, max(_MANY_VALUES, len(text)))
        yield document


_ALIAS = re.compile(r"(?:^|[\s\[{,:-])\*[^\s,\[\]{}]", re.MULTILINE)


def _values_in(value: object, known: dict[int, int], most: int) -> int:
    """How many values there are, those behind aliases counted as often as they are used."""
    if not isinstance(value, dict | list):
        return 1
    count = known.get(id(value))
    if count == 0:
        raise Refused(None, None, "an alias stands for something that it is part of", None)
    if count is None:
        known[id(value)] = 0
        inside = value.values() if isinstance(value, dict) else value
        count = 1
        for one in inside:
            count += _values_in(one, known, most)
            if count > most:
                raise Refused(None, None, f"its aliases make more than {most} values of it", None)
        known[id(value)] = count
    return count


_NULLS = ("", "~", "null", "Null", "NULL")


def _check_root(text: str) -> None:
    """Refuse garbage that happens to be YAML by its beginning, however much of it there is."""
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.MappingStartEvent):
            return
        if isinstance(event, yaml.SequenceStartEvent):
            what = "a list"
        elif isinstance(event, yaml.ScalarEvent) and event.value not in _NULLS:
            what = repr(event.value[:40])
        else:
            continue
        mark: Any = event.start_mark
        raise Refused(None, None, no_object(what), mark)


def no_object(what: str) -> str:
    """The message for a document that is something else."""
    return f"{what} is no Kubernetes object: apiVersion and kind are missing"


_LONG_START = re.compile(r"^[ \t?:-]{200}", re.MULTILINE)
_DOCUMENT = re.compile(r"^---", re.MULTILINE)


def check_depth(text: str) -> None:
    """Refuse what would overrun the stack of libyaml's composer, which recurses in C.

    Raises:
        RecursionError: the text is nested too deeply.
    """
    if not _may_be_deep(text):
        return
    depth = 0
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                mark: Any = event.start_mark
                raise RecursionError(mark.line + 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _may_be_deep(text: str) -> bool:
    """Whether nesting beyond any manifest is possible; the usual file is not read twice for it."""
    if _LONG_START.search(text) is not None:
        return True
    if _brackets(text, 0, len(text)) <= _MAX_DEPTH:
        return False
    # No bracket stays open beyond the end of its document.
    starts = [0, *(match.start() for match in _DOCUMENT.finditer(text)), len(text)]
    return any(
        _brackets(text, start, end) > _MAX_DEPTH for start, end in itertools.pairwise(starts)
    )


def _brackets(text: str, start: int, end: int) -> int:
    """How many brackets are opened, less those that are closed at once."""
    opened = text.count("[", start, end) + text.count("{", start, end)
    return opened - text.count("[]", start, end) - text.count("{}", start, end)
