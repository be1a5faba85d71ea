"""Services from files: read once, or watched.

The last good state stays: a file that cannot be read keeps what it last said, an object that
became invalid keeps its last valid version, and both are reported until they are mended.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from netproxy.errors import ManifestError
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import Delete, Event, Listed, ModelObject, ObjectKey, Upsert, key_of
from netproxy.model.parse import parse_object
from netproxy.sources.manifests.documents import find_lines, read_documents

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"


class ManifestSet(NamedTuple):
    """Everything that some manifests say."""

    objects: tuple[ModelObject, ...]
    diagnostics: tuple[Diagnostic, ...]
    complete: bool
    """False: some file or object could not be used, so what it describes is not known."""


class Batch(NamedTuple):
    """What changed since the batch before."""

    events: tuple[Event, ...]
    diagnostics: tuple[Diagnostic, ...]
    """Those that are new."""
    trigger_times: tuple[float, ...] = ()
    """Manifests do not tell why somebody wrote them."""


class _File(NamedTuple):
    """What one file says, as of its last good version."""

    stamp: tuple[int, int, int] | None
    """Modification time, size and inode of the version looked at last."""
    digest: bytes
    objects: dict[str, tuple[ModelObject, ...]]
    """Subject → what it became: an Endpoints object becomes several slices."""
    diagnostics: tuple[Diagnostic, ...]
    complete: bool
    is_known: bool = False
    """Some version of it could be read."""


_NOTHING = _File(None, b"", {}, (), complete=True)


def read_manifests(paths: Sequence[str]) -> ManifestSet:
    """Read files, directories and ``-`` for standard input, once.

    Nothing is raised: what cannot be read is in the diagnostics, and ``complete`` is False.
    """
    shelf = Shelf(paths)
    shelf.refresh()
    return ManifestSet(tuple(shelf.objects.values()), shelf.diagnostics, shelf.complete)


class Shelf:
    """All manifests under some paths, in order, and what they said last."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._files: dict[str, _File] = {}
        self._troubles: dict[str, Diagnostic] = {}
        """Paths that could not be listed."""
        self._stdin: bytes | None = None
        self._out_of_reach: set[str] = set()
        """Files of directories that are gone: they still say what they last said."""
        self.objects: dict[ObjectKey, ModelObject] = {}
        """The current objects, each key once."""
        self.diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all that the paths hold is known, if only in an earlier version."""
        listed = all(path in self._files or self._has_listed(path) for path in self._troubles)
        return listed and all(file.complete for file in self._files.values())

    def _has_listed(self, path: str) -> bool:
        return any(name.startswith(path.rstrip("/") + "/") for name in self._files)

    def refresh(self, settled_s: float = 0.0) -> Batch:
        """Look at every file again; returns what changed.

        Args:
            settled_s: Leave files alone that were written to within so many seconds: nobody has
                said that their writer is done.
        """
        present = self._list()
        self._files = {
            name: self._files[name] if name in self._out_of_reach else self._look(name, settled_s)
            for name in present
        }
        objects, duplicates = self._merge()
        events: list[Event] = [
            Upsert(obj) for key, obj in objects.items() if self.objects.get(key) != obj
        ]
        events += [Delete(key) for key in self.objects if key not in objects]
        self.objects = objects
        known = set(self.diagnostics)
        found = (d for file in self._files.values() for d in file.diagnostics)
        self.diagnostics = (*self._troubles.values(), *found, *duplicates)
        fresh = tuple(d for d in dict.fromkeys(self.diagnostics) if d not in known)
        return Batch(tuple(events), fresh)

    def directories(self) -> set[str]:
        """Where changes can show: the directories given, and those of the files given."""
        return {
            path if os.path.isdir(path) else os.path.dirname(path) or "."
            for path in self._paths
            if path != STDIN
        }

    def _list(self) -> list[str]:
        """All files, in the order of the paths; of a path that is gone, those known before."""
        self._troubles = {}
        self._out_of_reach = set()
        names: list[str] = []
        for path in self._paths:
            if path == STDIN or not os.path.isdir(path):
                prefix = path.rstrip("/") + "/"
                known = [name for name in self._files if name.startswith(prefix)]
                if known:  # it was a directory
                    self._troubles[path] = _trouble(path, "is gone; its last good state stays")
                    self._out_of_reach.update(known)
                names += known or [path]
                continue
            try:
                entries = sorted(os.listdir(path))
            except OSError as error:
                self._troubles[path] = _trouble(path, f"cannot be listed: {error.strerror}")
                known = [n for n in self._files if n.startswith(path.rstrip("/") + "/")]
                self._out_of_reach.update(known)
                names += known
                continue
            chosen = [e for e in entries if e.endswith(SUFFIXES) and not e.startswith(".")]
            names += [os.path.join(path, entry) for entry in chosen]
        return list(dict.fromkeys(names))

    def _look(self, name: str, settled_s: float) -> _File:
        """What a file says now; what it said before where it has not changed or is broken."""
        before = self._files.get(name, _NOTHING)
        try:
            stamp, data = self._read(name, before, settled_s)
        except FileNotFoundError:
            if name not in self._paths:
                return _NOTHING  # it vanished from its directory while we looked
            return _keep(before, None, _trouble(name, "does not exist"))
        except OSError as error:
            return _keep(before, None, _trouble(name, f"cannot be read: {error.strerror}"))
        if data is None:
            return before
        digest = hashlib.sha256(data).digest()
        if digest == before.digest:
            return before._replace(stamp=stamp)  # what is wrong with it still is
        try:
            documents = read_documents(data, name)
        except ManifestError as error:
            text = error.message.partition(": ")[2]
            trouble = _trouble(name, text, error.line or 0)
            return _keep(before, stamp, trouble)._replace(digest=digest)
        return _parse_file(name, data, documents, before)._replace(stamp=stamp, digest=digest)

    def _read(
        self, name: str, before: _File, settled_s: float
    ) -> tuple[tuple[int, int, int] | None, bytes | None]:
        """The content, or None when the file has not been touched since."""
        if name == STDIN:
            if self._stdin is None:
                self._stdin = sys.stdin.buffer.read()
            return None, self._stdin
        # Not to be caught by a pipe that nobody writes to.
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == before.stamp:
                return stamp, None
            if before.is_known and settled_s and time.time() - status.st_mtime < settled_s:
                return before.stamp, None
            return stamp, file.read()

    def _merge(self) -> tuple[dict[ObjectKey, ModelObject], list[Diagnostic]]:
        """All objects; of one that stands twice the first, and an error for the other."""
        objects: dict[ObjectKey, ModelObject] = {}
        origin: dict[ObjectKey, tuple[str, str]] = {}
        duplicates = []
        for name, file in self._files.items():
            for subject, group in file.objects.items():
                for obj in group:
                    key = key_of(obj)
                    if key in objects and origin[key] != (name, subject):
                        message = f"is defined in {origin[key][0]} already; that one counts"
                        duplicates.append(Diagnostic(Severity.ERROR, subject, "", message, name))
                        break
                    objects[key] = obj
                    origin[key] = (name, subject)
        return objects, duplicates


def _trouble(path: str, message: str, line: int = 0) -> Diagnostic:
    return Diagnostic(Severity.ERROR, "", "", message, path, line)


def _keep(before: _File, stamp: tuple[int, int, int] | None, trouble: Diagnostic) -> _File:
    """The last good state of a file, with what is wrong with its present one."""
    return before._replace(
        stamp=stamp,
        digest=b"",  # the same content, once it can be read again, is news
        diagnostics=(trouble,),
        complete=before.is_known and before.complete,
    )


def _parse_file(name: str, data: bytes, documents: list[object], before: _File) -> _File:
    """What the documents of a file become; invalid objects keep their last valid version."""
    objects: dict[str, list[ModelObject]] = {}
    located: list[tuple[int, Diagnostic]] = []
    repeated: set[str] = set()
    for index, document in enumerate(documents):
        parsed = parse_object(document)
        located += ((index, d) for d in parsed.diagnostics)
        for subject, obj in zip(parsed.subjects, parsed.objects, strict=True):
            group = objects.setdefault(subject, [])
            if any(key_of(obj) == key_of(other) for other in group):
                repeated.add(subject)
            else:
                group.append(obj)
    located += (
        (0, Diagnostic(Severity.ERROR, s, "", "is defined twice in this file; the first counts"))
        for s in sorted(repeated)
    )
    lost = {
        d.subject for _, d in located if d.severity is Severity.ERROR and d.subject not in objects
    }
    kept = {subject: before.objects[subject] for subject in lost if subject in before.objects}
    lines = find_lines(data, [(i, d.field) for i, d in located]) if located else []
    return _File(
        stamp=None,
        digest=b"",
        objects={**{s: tuple(group) for s, group in objects.items()}, **kept},
        diagnostics=tuple(
            d._replace(path=name, line=line) for (_, d), line in zip(located, lines, strict=True)
        ),
        complete=lost <= kept.keys(),
        is_known=True,
    )


def first_events(shelf: Shelf) -> Batch:
    """The first batch of a watch: everything, then Listed."""
    batch = shelf.refresh()
    return Batch((*batch.events, Listed(shelf.complete)), batch.diagnostics)


def next_events(shelf: Shelf, *, was_complete: bool, settled_s: float = 0.0) -> Batch:
    """A later batch; Listed once more when what was missing has come."""
    batch = shelf.refresh(settled_s)
    if shelf.complete and not was_complete:
        return Batch((*batch.events, Listed()), batch.diagnostics)
    return batch
