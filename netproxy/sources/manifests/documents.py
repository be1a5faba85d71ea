"""The text of a manifest → documents, and the lines on which their fields stand.

YAML is read the way Kubernetes reads it: timestamps stay text, and a key that stands twice is an
error rather than a riddle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from netproxy.errors import ManifestError

MAX_BYTES = 64 << 20
_TOO_DEEP = "is nested too deeply to be a manifest"
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BaseLoader):  # type: ignore[misc]
    """The safe loader, less timestamps, plus a check for keys that stand twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_documents(data: bytes, path: str) -> list[object]:
    """Every document of a manifest, as dictionaries and lists; empty ones are left out.

    Args:
        data: The content: YAML with ``---`` between documents, or JSON, or several JSON values.
        path: For messages.

    Raises:
        ManifestError: it is no text, or no YAML or JSON; the message has the line.
    """
    if len(data) > MAX_BYTES:
        raise ManifestError(
            path=path,
            problem=f"has {len(data) >> 20} MiB; manifests may have {MAX_BYTES >> 20}",
            hint="split it into several files",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(path=path, line=line, problem="is not UTF-8 text") from None
    stripped = text.lstrip()
    try:
        if stripped.startswith(("{", "[")) and (found := _read_json(stripped)) is not None:
            return found
        if _may_be_deep(text):
            _check_depth(text, path)
        return [d for d in yaml.load_all(text, _Loader) if d is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = f"is neither YAML nor JSON: {error.problem or error.context}"
        raise ManifestError(
            path=path, line=mark.line + 1 if mark else None, problem=problem
        ) from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())[:120]
        raise ManifestError(path=path, problem=f"is neither YAML nor JSON: {problem}") from None
    except RecursionError:
        raise ManifestError(path=path, problem=_TOO_DEEP) from None
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        # What PyYAML's constructors raise for tags that do not fit their values.
        problem = f"cannot be read: {type(error).__name__}: {str(error)[:80]}"
        raise ManifestError(path=path, problem=problem) from None


def _read_json(text: str) -> list[object] | None:
    """JSON values, one after the other; None when it is something else, such as flow YAML."""
    try:
        return [msgspec.json.decode(text)]
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return [value for value, _, _ in _json_values(text) if value is not None]
    except ValueError:
        return None


def _json_values(text: str) -> Iterator[tuple[object, int, int]]:
    """(value, start, end) of JSON values that stand one after the other.

    Raises:
        ValueError: it is something else.
    """
    decoder = json.JSONDecoder()
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        value, end = decoder.raw_decode(text, position)
        yield value, position, end
        position = end


_LONG_START = re.compile(r"^[ \t?:-]{200}", re.MULTILINE)
_MAX_DEPTH = 100
"""Source: no field of a Kubernetes object that we read is nested deeper than 12."""


def _may_be_deep(text: str) -> bool:
    """Whether nesting beyond any manifest is possible; the usual file is not read twice for it."""
    brackets = text.count("[") + text.count("{")
    return brackets > _MAX_DEPTH or _LONG_START.search(text) is not None


def _check_depth(text: str, path: str) -> None:
    """Refuse what would overrun the stack of libyaml's composer, which recurses in C."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                mark = event.start_mark
                line = mark.line + 1 if mark else None
                raise ManifestError(path=path, line=line, problem=_TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def find_lines(data: bytes, places: list[tuple[int, str]]) -> list[int]:
    """The 1-based lines of fields; the nearest enclosing one where a field is absent.

    Args:
        data: A manifest that ``read_documents`` could read.
        places: (index of the document, field path such as ``spec.ports[0].port``).

    Returns:
        A line for each place, 0 where it cannot be told.
    """
    try:
        nodes = list(_compose(data.decode("utf-8-sig")))
    except (yaml.YAMLError, ManifestError, RecursionError, ValueError):
        return [0] * len(places)
    lines = []
    for number, field in places:
        node, line_before = nodes[number] if number < len(nodes) else (None, 0)
        lines.append(line_before + _line_of(node, field) if node is not None else 0)
    return lines


def _compose(text: str) -> Iterator[tuple[yaml.Node, int]]:
    """The documents with marks, each with the number of lines before its text."""
    if _may_be_deep(text):
        _check_depth(text, "")
    try:
        pieces = [(s, e) for value, s, e in _json_values(text) if value is not None]
    except (ValueError, RecursionError):
        pieces = []
    if len(pieces) > 1:
        # To YAML, JSON values one after the other are not several documents.
        for start, end in pieces:
            node = yaml.compose(text[start:end], _Loader)
            if node is not None:
                yield node, text.count("\n", 0, start)
        return
    for node in yaml.compose_all(text, _Loader):
        if not _is_null(node):
            yield node, 0


def _is_null(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _line_of(node: yaml.Node, field: str) -> int:
    line = int(node.start_mark.line) + 1
    for step in _steps(field):
        found = _child(node, step)
        if found is None:
            return line
        node, line = found
    return line


def _steps(field: str) -> Iterator[str | int]:
    for name, index in _STEP.findall(field):
        yield int(index) if index else name


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, int] | None:
    """The value under a key or an index, and the line on which it begins."""
    if isinstance(step, int):
        if isinstance(node, yaml.SequenceNode) and step < len(node.value):
            item = node.value[step]
            return item, item.start_mark.line + 1
        return None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark.line + 1
    return None
