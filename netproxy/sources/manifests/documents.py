"""The text of a manifest → documents, and the lines on which their fields stand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from netproxy.errors import ManifestError
from netproxy.sources.manifests.loader import Loader, Refused, check_depth, load, no_object

MAX_BYTES = 64 << 20
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def read_documents(data: bytes, path: str) -> list[object]:
    """Every document of a manifest, as dictionaries and lists; empty ones are left out.

    Args:
        data: The content: YAML with ``---`` between documents, or JSON, or several JSON values.
        path: For messages.

    Raises:
        ManifestError: it is no text, or no YAML or JSON, or does not begin with an object; the
            message has the line.
    """
    if len(data) > MAX_BYTES:
        raise too_large(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(path=path, line=line, problem="is not UTF-8 text") from None
    try:
        stripped = text.lstrip()
        if stripped.startswith(("{", "[")) and (found := _read_json(stripped)) is not None:
            if found and not isinstance(found[0], dict):
                line = text.count("\n", 0, len(text) - len(stripped)) + 1
                raise ManifestError(path=path, line=line, problem=no_object("a list"))
            return found
        return [d for d in load(text) if d is not None]
    except _RepeatedKey as error:
        line_or_none = _line_of_repeated_key(text)
        raise ManifestError(path=path, line=line_or_none, problem=str(error)) from None
    except (yaml.YAMLError, RecursionError) as error:
        line_or_none, problem = _explain(error)
        raise ManifestError(path=path, line=line_or_none, problem=problem) from None
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        # What PyYAML's constructors raise for tags that do not fit their values.
        problem = f"cannot be read: {type(error).__name__}: {_brief(str(error))}"
        raise ManifestError(path=path, problem=problem) from None


def too_large(path: str) -> ManifestError:
    """The answer to a file beyond all measure."""
    return ManifestError(
        path=path,
        problem=f"is too large: manifests may have {MAX_BYTES >> 20} MiB",
        hint="split it into several files",
    )


def _explain(error: yaml.YAMLError | RecursionError) -> tuple[int | None, str]:
    """(line, problem) of what the YAML parser says."""
    if isinstance(error, RecursionError):
        line = error.args[0] if error.args and isinstance(error.args[0], int) else None
        return line, "is nested too deeply to be a manifest"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        problem = _brief(error.problem or error.context or "")
        prefix = "" if isinstance(error, Refused) else "is neither YAML nor JSON: "
        return mark.line + 1 if mark else None, prefix + problem
    return None, f"is neither YAML nor JSON: {_brief(str(error))}"


def _brief(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 120 else words[:117] + "..."


class _RepeatedKey(ValueError):
    """A key stands twice in a JSON object."""


def _refuse_repeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        key = next(k for i, k in enumerate(keys) if k in keys[:i])
        raise _RepeatedKey(f"the key {key[:80]!r} stands here twice")
    return found


_STRICT = json.JSONDecoder(object_pairs_hook=_refuse_repeated)


def _read_json(text: str) -> list[object] | None:
    """JSON values, one after the other; None when it is something else, such as flow YAML."""
    try:
        value = msgspec.json.decode(text)
        # msgspec is ten times as fast, but silent about repeated keys: it says fewer then.
        if msgspec.json.encode(value).count(b'":') == text.count('":'):
            return [value]
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeEncodeError):
        pass
    try:
        return [value for value, _, _ in _json_values(text, _STRICT) if value is not None]
    except _RepeatedKey:
        raise
    except ValueError:
        return None


def _json_values(text: str, decoder: json.JSONDecoder) -> Iterator[tuple[object, int, int]]:
    """(value, start, end) of JSON values that stand one after the other.

    Raises:
        ValueError: it is something else.
    """
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        value, end = decoder.raw_decode(text, position)
        yield value, position, end
        position = end


def _line_of_repeated_key(text: str) -> int | None:
    """The line that the YAML parser, to which JSON is nearly YAML, finds; None if it does not."""
    try:
        for _ in load(text):
            pass
    except Refused as error:
        return error.problem_mark.line + 1 if error.problem_mark else None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):
        pass
    return None


def find_lines(data: bytes, places: list[tuple[int, str]]) -> list[int]:
    """The 1-based lines of fields; the nearest enclosing one where a field is absent.

    Args:
        data: A manifest that ``read_documents`` could read.
        places: (index of the document, field path such as ``spec.ports[0].port``).

    Returns:
        A line for each place, 0 where it cannot be told.
    """
    lines = [0] * len(places)
    wanted: dict[int, list[int]] = {}
    for position, (number, _) in enumerate(places):
        wanted.setdefault(number, []).append(position)
    try:
        for number, node, line_before in _compose(data.decode("utf-8-sig"), set(wanted)):
            for position in wanted[number]:
                lines[position] = line_before + _line_of(node, places[position][1])
    except (yaml.YAMLError, RecursionError, ValueError):
        pass  # odd JSON that is no YAML: better no line than no message
    return lines


def _compose(text: str, wanted: set[int]) -> Iterator[tuple[int, yaml.Node, int]]:
    """(number, document with marks, lines before its text) of the documents that are wanted."""
    check_depth(text)
    try:
        values = _json_values(text, json.JSONDecoder())
        pieces = [(start, end) for value, start, end in values if value is not None]
    except (ValueError, RecursionError):
        pieces = []
    if len(pieces) > 1:
        # To YAML, JSON values one after the other are not several documents.
        for number in sorted(wanted & set(range(len(pieces)))):
            start, end = pieces[number]
            node = yaml.compose(text[start:end], Loader)
            if node is not None:
                yield number, node, text.count("\n", 0, start)
        return
    number, last = 0, max(wanted, default=-1)
    for node in yaml.compose_all(text, Loader):
        if node.tag == "tag:yaml.org,2002:null":
            continue
        if number in wanted:
            yield number, node, 0
        number += 1
        if number > last:
            return


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
