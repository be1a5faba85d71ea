"""Bytes of a manifest → documents, or one error that says where."""

from __future__ import annotations

import json
import random
import time

import pytest

from netproxy.errors import ManifestError
from netproxy.model.parse import parse_object
from netproxy.sources.manifests import documents as module
from netproxy.sources.manifests.documents import find_lines, read_documents

NO_OBJECT = "is no Kubernetes object: apiVersion and kind are missing"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n  \n", []),
        (b"# only a comment\n", []),
        (b"---\n---\n...\n", []),
        (b"null", []),
        (b"a: 1", [{"a": 1}]),
        (b"a: 1\n---\nb: 2\n---\n", [{"a": 1}, {"b": 2}]),
        (b"---\n# nothing\n---\na: 1", [{"a": 1}]),
        (b"a: 1\r\n---\r\nb: 2\r\n", [{"a": 1}, {"b": 2}]),
        (b"a: 1\n---\n- 1\n- two\n", [{"a": 1}, [1, "two"]]),
        (b'{"a": 1}', [{"a": 1}]),
        (b'\n\t {"a": null, "b": "\\u00e9"}\n', [{"a": None, "b": "é"}]),
        (b'{"a": 1}{"b": 2}\n \n[3]', [{"a": 1}, {"b": 2}, [3]]),
        (b'{"a": 1}\n---\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        (b"{a: 1, b: [x, y]}", [{"a": 1, "b": ["x", "y"]}]),
        (b'{\n\t"a": [\n\t\t1\n\t]\n}', [{"a": [1]}]),
        (b"\xef\xbb\xbfa: 1", [{"a": 1}]),
        (b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
        ("a: schön".encode(), [{"a": "schön"}]),
        # Nothing but text, numbers and truth.
        (b"a: 2026-01-01T00:00:00Z", [{"a": "2026-01-01T00:00:00Z"}]),
        (b"a: 2026-01-01", [{"a": "2026-01-01"}]),
        (
            b"a: 22:22\nb: 2001:10:20:30:40:50:11:12",
            [{"a": "22:22", "b": "2001:10:20:30:40:50:11:12"}],
        ),
        (b"a: [=, '!=', <=]", [{"a": ["=", "!=", "<="]}]),
        (b"a: [yes, No, on, true, y]", [{"a": [True, False, True, True, "y"]}]),
        (
            b"a: [0x50, 0120, +5, -5, 1_000, 0, 080, 1.5, .5, 1.]",
            [{"a": [80, 80, 5, -5, 1000, 0, "080", 1.5, 0.5, 1.0]}],
        ),
        (b"a: " + b"9" * 5000, [{"a": "9" * 5000}]),
        (b'{"a": 123456789012345678901234567890}', [{"a": 123456789012345678901234567890}]),
        (b'{"a": "x\\":", "b" : "\\u0022:"}', [{"a": 'x":', "b": '":'}]),
        (b"a: \"1\"\nb: 'true'\nc: true", [{"a": "1", "b": "true", "c": True}]),
        # Aliases and merges.
        (b"a: &x [1, 2]\nb: *x\nc: *x\n", [{"a": [1, 2], "b": [1, 2], "c": [1, 2]}]),
        (b"a: &x {p: 1}\nb: {<<: *x, q: 2}", [{"a": {"p": 1}, "b": {"p": 1, "q": 2}}]),
        (b"a: &x {p: 1}\nb: {<<: *x, p: 2}", [{"a": {"p": 1}, "b": {"p": 2}}]),
        (
            b"a: &x {p: 1}\nb: &y {p: 2, q: 3}\nc: {<<: [*x, *y]}",
            [{"a": {"p": 1}, "b": {"p": 2, "q": 3}, "c": {"p": 1, "q": 3}}],
        ),
        (b"a: {x: 1}\nb: {x: 1}", [{"a": {"x": 1}, "b": {"x": 1}}]),
    ],
)
def test_documents(data: bytes, expected: list[object]) -> None:
    assert read_documents(data, "x.yaml") == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: \xff", "x.yaml:2: is not UTF-8 text"),
        ("a: 1".encode("utf-16"), "x.yaml:1: is not UTF-8 text"),
        (b"a: 1\nb: 2\na: 3", "x.yaml:3: the key 'a' stands here twice"),
        (
            b"m:\n  p:\n  - x: 1\n    x: 1\n",
            "x.yaml:4: the key 'x' stands here twice",
        ),
        (
            b"a: 1\n---\nb: 1\n\nb: 2",
            "x.yaml:5: the key 'b' stands here twice",
        ),
        (
            b"a: b: c",
            "x.yaml:1: is neither YAML nor JSON: mapping values are not allowed in this context",
        ),
        (b"a: *b", "x.yaml:1: is neither YAML nor JSON: found undefined alias"),
        (
            b"a: !!python/object:os.system x",
            "x.yaml:1: is neither YAML nor JSON: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object:os.system'",
        ),
        (b"a: 1\n? [1]\n: x", "x.yaml:2: is neither YAML nor JSON: found unhashable key"),
        # What is no object, whatever follows.
        (b"\n- 1\n- two", f"x.yaml:2: a list {NO_OBJECT}"),
        (b"\n[1]\n[2]", f"x.yaml:2: a list {NO_OBJECT}"),
        (b"---\nnull\n---\nhello\n---\na: 1", f"x.yaml:4: 'hello' {NO_OBJECT}"),
        # Keys of JSON.
        (b'{"a": 1, "b": {"c": 2,\n"c": 3}}', "x.yaml:2: the key 'c' stands here twice"),
        (b'{"a": 1}\n{"b": 1, "b": 2}', "x.yaml: the key 'b' stands here twice"),
        (b'{"a" : 1, "a" : 2}', "x.yaml:1: the key 'a' stands here twice"),
        (b'{"a": "\\ud83d\\ude00", "a": 2}', "x.yaml: the key 'a' stands here twice"),
        # Aliases.
        (b"a: &a [*a]", "x.yaml: an alias stands for something that it is part of"),
        (b"a: &a\n  b: *a", "x.yaml: an alias stands for something that it is part of"),
        (b"a: {<<: [1]}", "x.yaml:1: << must name a mapping"),
    ],
)
def test_what_is_no_manifest(data: bytes, expected: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_documents(data, "x.yaml")
    assert caught.value.message == expected
    assert caught.value.path == "x.yaml"


@pytest.mark.parametrize("data", [b"a: \x00", b'{"a": "\x01"}', b"a: 1\n...\n\x1b[2J"])
def test_control_characters_are_refused_in_one_printable_line(data: bytes) -> None:
    with pytest.raises(ManifestError) as caught:
        read_documents(data, "x.yaml")
    assert caught.value.message.startswith("x.yaml")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "data",
    [b"!!map [a]", b"!!set [a]", b"!!int ''", b"!!float ''", b"!!bool maybe", b"!!timestamp x"],
)
def test_tags_that_do_not_fit(data: bytes) -> None:
    with pytest.raises(ManifestError):
        read_documents(data, "x.yaml")


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[{" * 100_000,
        b"- " * 200_000 + b"x",
        b"? " * 200_000 + b"x",
        b"a: " + b"[" * 200_000,
        b"a: " + b"{b: " * 200_000,
        b"x: 1\n---\n" + b"- " * 200_000,
        b"".join(b" " * n + b"a:\n" for n in range(2000)),
        b"".join(b" " * n + b"-\n" for n in range(2000)),
        b"a:\n" + b"".join(b" " * n + b"- -\n" for n in range(0, 4000, 4)),
        b"# " + b"x" * 9 + b"\n" + b"!!seq " + b"[" * 100_000,
    ],
    ids=lambda data: f"{data[:12]!r} {len(data)}",
)
def test_deep_nesting_is_refused_and_does_not_end_the_process(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^x\.yaml") as caught:
        read_documents(data, "x.yaml")
    assert "nested too deeply" in caught.value.message
    assert find_lines(data, [(0, "a.b")]) == [0]


@pytest.mark.parametrize("depth", [100, 500, *range(900, 1000, 3)])
@pytest.mark.parametrize("is_object", [True, False])
def test_what_is_just_shallow_enough_can_be_parsed(depth: int, is_object: bool) -> None:
    data = b"[" * depth + b"]" * depth
    data = (b'{"kind": "Service", "apiVersion": "v1", "x": ' if is_object else b'{"x": ') + data
    data += b"}"
    try:
        (document,) = read_documents(data, "x.json")
    except ManifestError as error:
        found = error.message
    else:
        found = str(parse_object(document).diagnostics[0])
    wanted = "metadata.name: is missing" if is_object else "kind: is missing"
    assert "nested too deeply" in found or wanted in found
    assert len(find_lines(data, [(0, "kind")])) == 1


@pytest.mark.parametrize("depth", [2, 30, 99])
def test_a_hundred_levels_are_allowed(depth: int) -> None:
    data = b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    assert json.dumps(read_documents(data, "x")[0]).encode() == data
    flow = b"? " + data + b"\n: 1"
    with pytest.raises(ManifestError, match="unhashable"):
        read_documents(flow, "x")


def test_brackets_in_text_are_no_nesting() -> None:
    data = b"a: '" + b"[{" * 5000 + b"'\nb: " + b"{}" + b"\n"
    assert read_documents(data, "x") == [{"a": "[{" * 5000, "b": {}}]


@pytest.mark.parametrize(
    "kind",
    [
        "noise",
        "letters",
        "zeros",
        "colons",
        "quotes",
        "words",
        "anchors",
        "one line",
        "list",
        "flow list",
        "exclamations",
    ],
)
def test_five_megabytes_of_garbage_are_answered(kind: str) -> None:
    size = 5 << 20
    data = {
        "list": b"- \n" * (size // 3),
        "flow list": b"[" + b"x, " * (size // 3),
        "exclamations": b"!" * size,
        "noise": random.Random(1).randbytes(size),
        "letters": b"x" * size,
        "zeros": bytes(size),
        "colons": b": " * (size // 2),
        "quotes": b'"' * size,
        "words": b"lorem ipsum\n" * (size // 12),
        "anchors": b"&" * size,
        "one line": b"a: b" * (size // 4),
    }[kind]
    begin = time.monotonic()
    try:
        found = read_documents(data, "x.yaml")
    except ManifestError as error:
        said = error.message
    else:
        (said,) = (str(d) for d in parse_object(found[0]).diagnostics)
    assert time.monotonic() - begin < 20
    assert len(said) < 250
    assert said.isprintable()


def _bomb(line: str, levels: int) -> bytes:
    return "".join(line.format(n=n, m=n - 1) for n in range(1, levels)).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"a0: &a0 [x]\n" + _bomb("a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}]\n", 40),
        b"a0: &a0 {x: 1}\n" + _bomb("a{n}: &a{n} {{x: *a{m}, y: *a{m}}}\n", 40),
        b"a0: &a0 [x]\n" + _bomb("a{n}: &a{n} [*a{m}]\n", 5000),
        b"a: &a [" + b"x," * 5000 + b"x]\nb: [" + b"*a," * 5000 + b"*a]",
        b"a: &a {"
        + b"".join(b"k%d: 1," % n for n in range(2000))
        + b"}\nb:\n"
        + b"- <<: *a\n" * 2000,
    ],
    ids=["lists", "mappings", "deep", "wide", "merges"],
)
def test_aliases_do_not_make_a_large_document_of_a_small_one(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"aliases|too deeply|too often"):
        read_documents(data, "x.yaml")


def test_merges_of_merges_do_not_double() -> None:
    data = b"a0: &a0 {x: 1}\n" + _bomb("a{n}: &a{n} {{<<: [*a{m}, *a{m}]}}\n", 40)
    (document,) = read_documents(data, "x.yaml")
    assert isinstance(document, dict)
    assert document["a39"] == {"x": 1}


def test_many_small_documents_with_brackets_are_not_deep() -> None:
    data = b"---\na: {b: [1, {}]}\n" * 500
    assert len(read_documents(data, "x.yaml")) == 500


def test_a_manifest_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    assert read_documents(b"#" * (1 << 20), "x") == []
    with pytest.raises(
        ManifestError, match=r"^x: is too large: manifests may have 1 MiB$"
    ) as caught:
        read_documents(b"#" * ((1 << 20) + 1), "x")
    assert caught.value.hint == "split it into several files"


YAML = b"""\
# a comment
kind: Service

metadata:
  name: web
spec:
  ports:
  - port: 80
    name: http
  -
    name: dns
    port: 53
---
---
a: {b: [1,
  2]}
"""


@pytest.mark.parametrize(
    ("index", "field", "line"),
    [
        (0, "", 2),
        (0, "kind", 2),
        (0, "metadata.name", 5),
        (0, "spec", 6),
        (0, "spec.ports", 7),
        (0, "spec.ports[0]", 8),
        (0, "spec.ports[0].port", 8),
        (0, "spec.ports[0].name", 9),
        (0, "spec.ports[1].port", 12),
        (0, "spec.ports[1].nodePort", 11),
        (0, "spec.ports[2].port", 7),
        (0, "spec.clusterIP", 6),
        (0, "metadata.namespace.deeper", 4),
        (0, "status", 2),
        (1, "a.b[1]", 16),
        (1, "a.b[0]", 15),
        (1, "kind", 15),
        (2, "kind", 0),
    ],
)
def test_the_line_of_a_field(index: int, field: str, line: int) -> None:
    assert find_lines(YAML, [(index, field)]) == [line]


def test_lines_of_several_fields_in_order() -> None:
    assert find_lines(YAML, [(1, "a"), (0, "spec"), (0, "spec"), (9, "")]) == [15, 6, 6, 0]


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_lines_in_json(indent: int | str | None, start: bytes) -> None:
    value = {"kind": "Service", "spec": {"ports": [{"port": 80}, {"port": 81, "name": "HERE"}]}}
    data = start + json.dumps(value, indent=indent).encode()
    expected = 1 + data[: data.index(b"HERE")].count(b"\n")
    assert find_lines(data, [(0, "spec.ports[1].name")]) == [expected]


def test_lines_of_what_stands_behind_an_alias() -> None:
    data = b"x: &p\n  port: 1\nspec: *p\n"
    assert find_lines(data, [(0, "spec.port"), (0, "spec")]) == [2, 3]


def test_lines_in_json_values_one_after_the_other() -> None:
    assert find_lines(b'{"a": 1}\n{"b": 2}\n', [(0, "a"), (1, "b")]) == [1, 2]


def test_null_among_json_values_is_no_document() -> None:
    assert read_documents(b'{"a": 1}\nnull\n{"b": 2}\n', "x") == [{"a": 1}, {"b": 2}]
