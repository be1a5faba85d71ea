"""What a set of files says, and what it goes on saying when files break."""

from __future__ import annotations

import io
import os
import sys
import types
from pathlib import Path

import pytest

from netproxy.model.diagnostic import Severity
from netproxy.model.service import Service
from netproxy.sources.manifests import documents, read_manifests, shelf
from netproxy.sources.manifests.shelf import Batch, Shelf, first_events, next_events
from tests.unit.sources.files import legacy_endpoints, names, service, words, write

BAD_PORT = "is no port number; it must be between 1 and 65535"


def _said(shelf: Shelf, base: Path) -> list[str]:
    return [str(d).replace(f"{base}/", "") for d in shelf.diagnostics]


def _port(shelf: Shelf, name: str = "web") -> int:
    found = shelf.objects["Service", "default", name]
    assert isinstance(found, Service)
    return found.ports[0].port


def test_files_in_the_order_given_and_directories_in_that_of_names(tmp_path: Path) -> None:
    sub = tmp_path / "dir"
    sub.mkdir()
    for name in ("b.yaml", "a.yml", "c.json", "C.yaml"):
        write(sub / name, service(name[0].lower() + name[-1]))
    write(tmp_path / "first.txt", service("first"))
    write(tmp_path / "last.yaml", service("last"))
    paths = [str(tmp_path / "first.txt"), str(sub), str(tmp_path / "last.yaml")]
    found = Shelf([*paths, paths[0]])
    batch = found.refresh()
    assert names(found) == ["first", "cl", "al", "bl", "cn", "last"]
    assert words(batch.events) == [f"+{name}" for name in names(found)]
    assert found.complete
    assert found.diagnostics == ()


def test_what_is_no_manifest_in_a_directory_is_left_alone(tmp_path: Path) -> None:
    for name in (".hidden.yaml", "notes.txt", "a.yaml~", "a.yaml.swp", "yaml", "..data"):
        write(tmp_path / name, "broken: [")
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert (found.objects, found.diagnostics, found.complete) == ({}, (), True)


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "\n\n"])
def test_an_empty_file_is_a_manifest_of_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path / "a.yaml", text)
    found = Shelf([str(tmp_path / "a.yaml")])
    found.refresh()
    assert (found.objects, found.diagnostics, found.complete) == ({}, (), True)


def test_a_file_that_was_emptied_says_nothing_any_more(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web"))
    found = Shelf([str(file)])
    found.refresh()
    write(file, "")
    assert words(found.refresh().events) == ["-web"]
    assert found.complete


def test_only_changes_are_told(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("a") + service("b") + service("c"))
    found = Shelf([str(file)])
    assert words(found.refresh().events) == ["+a", "+b", "+c"]
    assert found.refresh() == Batch((), ())
    write(file, service("c") + service("b", 81) + service("d"))
    assert words(found.refresh().events) == ["+b", "+d", "-a"]


def test_a_broken_file_keeps_its_last_good_state(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    write(file, service("web", 81) + "x: y: z\n")
    batch = found.refresh()
    assert batch.events == ()
    assert [d.severity for d in batch.diagnostics] == [Severity.ERROR]
    assert _said(found, tmp_path)[0].startswith("a.yaml:10: is neither YAML nor JSON: ")
    assert (_port(found), found.complete) == (80, True)
    # It is said once, but stays known.
    assert found.refresh() == Batch((), ())
    assert len(found.diagnostics) == 1
    write(file, service("web", 81))
    batch = found.refresh()
    assert (words(batch.events), batch.diagnostics) == (["+web"], ())
    assert (_port(found), found.complete) == (81, True)
    assert list(found.diagnostics) == []


def test_a_file_that_was_never_good_makes_the_picture_incomplete(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "x: [")
    write(tmp_path / "b.yaml", service("b"))
    found = Shelf([str(tmp_path)])
    batch = first_events(found)
    assert words(batch.events) == ["+b", "listed?"]
    assert not found.complete
    assert words(next_events(found, was_complete=False).events) == []
    write(tmp_path / "a.yaml", service("a"))
    assert words(next_events(found, was_complete=False).events) == ["+a", "listed"]
    assert words(next_events(found, was_complete=True).events) == []


def test_an_invalid_object_keeps_its_last_valid_version(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web") + service("other"))
    found = Shelf([str(file)])
    found.refresh()
    write(file, service("web", 70000) + service("other", 82))
    batch = found.refresh()
    assert words(batch.events) == ["+other"]
    assert _said(found, tmp_path) == [
        f"a.yaml:8: Service default/web: spec.ports[0].port: 70000 {BAD_PORT}"
    ]
    assert (_port(found), _port(found, "other"), found.complete) == (80, 82, True)
    write(file, service("web", 70000) + service("other", 83))
    batch = found.refresh()
    assert (words(batch.events), batch.diagnostics) == (["+other"], ())
    assert (_port(found), found.complete) == (80, True), "it outlives further versions"
    write(file, service("web", 81) + service("other", 83))
    assert words(found.refresh().events) == ["+web"]
    assert (_port(found), found.diagnostics) == (81, ())


def test_an_invalid_object_that_never_was_valid(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("good") + service("bad", 0))
    found = Shelf([str(file)])
    found.refresh()
    assert (names(found), found.complete) == (["good"], False)
    assert _said(found, tmp_path) == [
        f"a.yaml:17: Service default/bad: spec.ports[0].port: 0 {BAD_PORT}"
    ]
    write(file, service("good"))
    found.refresh()
    assert (found.complete, found.diagnostics) == (True, ())


def test_an_invalid_object_is_deleted_with_its_text(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web") + service("other"))
    found = Shelf([str(file)])
    found.refresh()
    write(file, service("web", 0) + service("other"))
    found.refresh()
    write(file, service("other"))
    assert words(found.refresh().events) == ["-web"]


def test_a_file_broken_as_a_whole_keeps_what_a_single_object_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web"))
    found = Shelf([str(file)])
    for text in (service("web", 0), "x: [", service("web", 0)):
        found.refresh()
        write(file, text)
    found.refresh()
    assert (_port(found), found.complete) == (80, True)


def test_all_slices_of_bad_endpoints_are_kept_or_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, legacy_endpoints("web", "10.1.0.1", "fd00::1"))
    found = Shelf([str(file)])
    found.refresh()
    both = ["endpoints:web:0:IPv4", "endpoints:web:0:IPv6"]
    assert names(found) == both
    write(file, legacy_endpoints("Web", "10.1.0.1"))
    found.refresh()
    assert names(found) == [], "another name is another object"
    assert not found.complete


def test_an_endpoint_that_is_wrong_does_not_keep_the_old_ones(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, legacy_endpoints("web", "10.1.0.1", "fd00::1"))
    found = Shelf([str(file)])
    found.refresh()
    write(file, legacy_endpoints("web", "10.1.0.2", "127.0.0.1"))
    batch = found.refresh()
    assert words(batch.events) == ["+endpoints:web:0:IPv4", "-endpoints:web:0:IPv6"]
    assert found.complete
    assert _said(found, tmp_path) == [
        "a.yaml:8: Endpoints default/web: subsets[0].addresses[1].ip: "
        "127.0.0.1 is a loopback, link-local or unspecified address"
    ]


def test_a_file_deleted_from_a_directory_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a"))
    write(tmp_path / "b.yaml", service("b"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    (tmp_path / "a.yaml").unlink()
    batch = found.refresh()
    assert (words(batch.events), batch.diagnostics, found.complete) == (["-a"], (), True)


def test_a_named_file_that_is_gone_keeps_its_last_good_state(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web"))
    found = Shelf([str(file)])
    found.refresh()
    file.unlink()
    assert found.refresh().events == ()
    assert (_said(found, tmp_path), found.complete) == (["a.yaml: does not exist"], True)
    assert names(found) == ["web"]
    write(file, service("web", 81))
    found.refresh()
    assert (found.diagnostics, _port(found)) == ((), 81)


def test_a_named_file_that_comes_back_as_it_was_is_no_longer_missed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web"))
    found = Shelf([str(file)])
    found.refresh()
    file.unlink()
    found.refresh()
    write(file, service("web"))
    found.refresh()
    assert found.diagnostics == ()


def test_a_named_file_that_never_was(tmp_path: Path) -> None:
    found = Shelf([str(tmp_path / "a.yaml")])
    assert words(first_events(found).events) == ["listed?"]
    assert _said(found, tmp_path) == ["a.yaml: does not exist"]
    write(tmp_path / "a.yaml", service("web"))
    assert words(next_events(found, was_complete=False).events) == ["+web", "listed"]


def test_a_file_that_vanishes_while_the_directory_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.yaml", service("a"))
    monkeypatch.setattr(os, "listdir", lambda _path: ["a.yaml", "gone.yaml"])
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert (names(found), found.diagnostics, found.complete) == (["a"], (), True)


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_that_is_gone_keeps_its_last_good_state(tmp_path: Path, how: str) -> None:
    sub = tmp_path / "dir"
    sub.mkdir()
    write(sub / "a.yaml", service("a"))
    found = Shelf([str(sub)])
    found.refresh()
    if how == "removed":
        (sub / "a.yaml").unlink()
        sub.rmdir()
    else:
        sub.rename(tmp_path / "elsewhere")
    assert found.refresh().events == ()
    assert (names(found), found.complete) == (["a"], True)
    assert _said(found, tmp_path) == ["dir: is gone; its last good state stays"]
    assert found.refresh() == Batch((), ())
    assert names(found) == ["a"], "not only once"
    sub.mkdir()
    write(sub / "b.yaml", service("b"))
    assert words(found.refresh().events) == ["+b", "-a"]
    assert found.diagnostics == ()


def test_a_directory_that_comes_back_is_read(tmp_path: Path) -> None:
    sub = tmp_path / "dir"
    sub.mkdir()
    write(sub / "a.yaml", service("a"))
    found = Shelf([str(sub)])
    found.refresh()
    sub.rename(tmp_path / "elsewhere")
    found.refresh()
    assert "dir: is gone; its last good state stays" in _said(found, tmp_path)
    sub.mkdir()
    write(sub / "b.yaml", service("b"))
    found.refresh()
    assert (names(found), found.diagnostics, found.complete) == (["b"], (), True)


def test_a_directory_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml", service("a"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    never = Shelf([str(tmp_path)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", _refuse)
        assert found.refresh().events == ()
        never.refresh()
    message = f"{tmp_path}: cannot be listed: Permission denied"
    assert [str(d) for d in found.diagnostics] == [message]
    assert [str(d) for d in never.diagnostics] == [message]
    assert (names(found), found.complete) == (["a"], True)
    assert (names(never), never.complete) == ([], False)


def _refuse(*_arguments: object) -> int:
    raise PermissionError(13, "Permission denied")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml", service("a"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    never = Shelf([str(tmp_path)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _refuse)
        assert found.refresh().events == ()
        never.refresh()
    assert _said(found, tmp_path) == ["a.yaml: cannot be read: Permission denied"]
    assert (names(found), found.complete) == (["a"], True)
    assert (names(never), never.complete) == ([], False)
    never.refresh()
    assert (names(never), never.diagnostics, never.complete) == (["a"], (), True)


def test_a_file_that_may_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.yaml", service("a"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _refuse)
        found.refresh()
    found.refresh()
    assert found.diagnostics == ()


def test_neither_pipes_nor_directories_nor_loose_links_stop_the_others(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").mkdir()
    (tmp_path / "c.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.yaml").symlink_to(tmp_path / "d.yaml")
    write(tmp_path / "e.yaml", service("e"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert names(found) == ["e"]
    said = _said(found, tmp_path)
    assert said[0] == "a.yaml: cannot be read: it is no regular file"
    assert said[1].startswith("b.yaml: cannot be read: ")
    assert said[2] == "d.yaml: cannot be read: Too many levels of symbolic links"
    assert len(said) == 3
    assert not found.complete


def test_the_first_of_two_files_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("web"))
    write(tmp_path / "b.yaml", service("web", 81) + service("other"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert names(found) == ["web", "other"]
    assert _port(found) == 80
    assert _said(found, tmp_path) == [
        "b.yaml: Service default/web: is defined in a.yaml already; that one counts"
    ]
    assert found.diagnostics[0].severity is Severity.ERROR
    assert found.complete
    (tmp_path / "a.yaml").unlink()
    assert words(found.refresh().events) == ["+web"]
    assert (_port(found), found.diagnostics) == (81, ())


def test_the_first_of_two_in_one_file_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    write(file, service("web") + service("web", 81))
    found = Shelf([str(file)])
    found.refresh()
    assert (_port(found), found.complete) == (80, True)
    (said,) = _said(found, tmp_path)
    assert said.endswith("Service default/web: is defined twice in this file; the first counts")


def test_endpoints_that_share_a_name_with_a_service_are_no_duplicates(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("web") + legacy_endpoints("web", "10.1.0.1"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert names(found) == ["web", "endpoints:web:0:IPv4"]
    assert found.diagnostics == ()


def test_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def read_documents(data: bytes, path: str) -> list[object]:
        parsed.append(Path(path).name)
        return documents.read_documents(data, path)

    monkeypatch.setattr(shelf, "read_documents", read_documents)
    for name in ("a", "b", "broken"):
        write(tmp_path / f"{name}.yaml", service(name) if len(name) == 1 else "x: [")
    found = Shelf([str(tmp_path)])
    found.refresh()
    assert parsed == ["a.yaml", "b.yaml", "broken.yaml"]
    parsed.clear()
    found.refresh()
    assert parsed == [], "nothing was touched"
    write(tmp_path / "a.yaml", service("a"))
    write(tmp_path / "broken.yaml", "x: [")
    found.refresh()
    assert parsed == [], "touched, but with the same content"
    assert len(found.diagnostics) == 1
    write(tmp_path / "b.yaml", service("b", 81))
    found.refresh()
    assert parsed == ["b.yaml"]
    replacement = tmp_path / "new"
    replacement.write_text(service("a", 82))
    status = (tmp_path / "a.yaml").stat()
    os.utime(replacement, ns=(status.st_atime_ns, status.st_mtime_ns))
    replacement.rename(tmp_path / "a.yaml")
    assert words(found.refresh().events) == ["+a"], "same time and size, another inode"


def test_files_that_were_not_touched_are_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.yaml", service("a"))
    found = Shelf([str(tmp_path)])
    found.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(shelf.hashlib, "sha256", _refuse)  # type: ignore[attr-defined]
        assert found.refresh() == Batch((), ())
        write(tmp_path / "a.yaml", service("a"))
        with pytest.raises(PermissionError):
            found.refresh()


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a"))
    stream = io.BytesIO(service("web").encode())
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
    found = Shelf(["-", str(tmp_path)])
    found.refresh()
    assert (names(found), found.complete) == (["web", "a"], True)
    assert found.refresh() == Batch((), ())
    assert found.directories() == {str(tmp_path)}


def test_mistakes_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(service("web", 0).encode())
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=stream))
    found = read_manifests(["-"])
    assert [str(d) for d in found.diagnostics] == [
        f"-:8: Service default/web: spec.ports[0].port: 0 {BAD_PORT}"
    ]
    assert (found.objects, found.complete) == ((), False)


def test_where_changes_can_show(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    found = Shelf([str(tmp_path / "dir"), str(tmp_path / "a.yaml"), "b.yaml", "-"])
    assert found.directories() == {str(tmp_path / "dir"), str(tmp_path), "."}


def test_read_manifests_says_all_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", service("a") + service("B"))
    found = read_manifests([str(tmp_path), str(tmp_path / "missing")])
    assert len(found.objects) == 1
    assert not found.complete
    assert [(d.path.rpartition("/")[2], d.line, d.subject) for d in found.diagnostics] == [
        ("a.yaml", 13, "Service default/B"),
        ("missing", 0, ""),
    ]


def test_warnings_do_not_make_it_incomplete(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n")
    found = read_manifests([str(tmp_path)])
    assert [d.severity for d in found.diagnostics] == [Severity.WARNING]
    assert found.complete
