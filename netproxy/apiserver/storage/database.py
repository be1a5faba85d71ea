"""The one door to SQLite: objects and their latest history in one file, one writer thread.

Every batch is one transaction that is on the disk when it is acknowledged (WAL, synchronous=FULL).
What comes while one is being written goes into the next one together, so that many writers share
the disk's time.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from netproxy.errors import ConfigError
from netproxy.log import EventLogger

HISTORY_ROWS = 20_000
"""How many events outlive a restart. Trimmed when there are a quarter more."""
_SCHEMA_VERSION = 1
_BUSY_S = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    version INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history (
    version INTEGER PRIMARY KEY,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    before BLOB, last BLOB NOT NULL, is_deletion INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_log = EventLogger(__name__)


class Row(NamedTuple):
    """One write; the layout of the table ``history``."""

    version: int
    resource: str
    namespace: str
    name: str
    before: bytes | None
    """The object's former state; None: it came."""
    last: bytes
    """Its new state, or of what goes the last one, with the version of its end."""
    is_deletion: int
    """1 or 0, as SQLite has it."""


_READ_HISTORY = (
    "SELECT version, resource, namespace, name, before, last, is_deletion"
    " FROM history ORDER BY version"
)


class Batch(NamedTuple):
    """Writes that happen together, and who wants to hear of it."""

    rows: Sequence[Row]
    done: Callable[[BaseException | None], None]
    """Called in the writer's thread."""


class StateRow(NamedTuple):
    """An object as it is now."""

    resource: str
    namespace: str
    name: str
    version: int
    data: bytes


class _Order(Enum):
    """What else the thread is told."""

    RESUME = auto()
    CLOSE = auto()


class Database:
    """A file of objects.

    After a failure every batch is refused, since it may build on what was lost, until ``resume``.

    Args:
        path: Where it is; made with mode 0600 if it is not there.

    Raises:
        ConfigError: it cannot be opened, belongs to a later version, or somebody else has it.
    """

    def __init__(self, path: Path, history_rows: int = HISTORY_ROWS) -> None:
        self._path = path
        self._history_rows = history_rows
        self._kept = 0
        self._queue: queue.SimpleQueue[Batch | _Order] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._connection = self._open()
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)

    def _open(self) -> sqlite3.Connection:
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._refused(str(error), "choose a --data-dir that can be written") from error
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_SCHEMA)
            self._check_version(connection)
        except sqlite3.Error as error:
            connection.close()
            hint = "end the other netproxy that uses it, or choose another --data-dir"
            if "locked" not in str(error):
                hint = "restore it from a copy, or move it away to begin anew"
            raise self._refused(str(error), hint) from error
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT OR IGNORE INTO facts VALUES ('schema', ?)", (str(_SCHEMA_VERSION),)
        )
        (found,) = connection.execute("SELECT value FROM facts WHERE name = 'schema'").fetchone()
        if int(found) > _SCHEMA_VERSION:
            connection.close()
            raise self._refused(
                f"was written by a later version of netproxy (layout {found})",
                "use that version, or choose another --data-dir",
            )

    def _refused(self, problem: str, hint: str) -> ConfigError:
        return ConfigError(setting=str(self._path), problem=problem, hint=hint)

    def states(self) -> Iterator[StateRow]:
        """All objects; before ``start``."""
        rows = self._connection.execute(
            "SELECT resource, namespace, name, version, data FROM objects"
        )
        return (StateRow(*each) for each in rows)

    def history(self) -> Iterator[Row]:
        """All events that are remembered, oldest first; before ``start``."""
        rows = self._connection.execute(_READ_HISTORY)
        return (Row(*each) for each in rows)

    def start(self) -> None:
        """From here on only the thread uses the file."""
        (self._kept,) = self._connection.execute("SELECT count(*) FROM history").fetchone()
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Have it written, in order; ``batch.done`` hears when it is on the disk, or why not."""
        self._queue.put(batch)

    def resume(self) -> None:
        """What is given from now on knows of the failure: try again."""
        self._queue.put(_Order.RESUME)

    def close(self) -> None:
        """Write what is waiting, and let go of the file."""
        if self._thread.is_alive():
            self._queue.put(_Order.CLOSE)
            self._thread.join()
        self._connection.close()

    def _work(self) -> None:
        is_open = True
        while is_open:
            taken = [self._queue.get()]
            while not self._queue.empty():
                taken.append(self._queue.get())
            for order, group in groupby(taken, key=_order_of):
                if order is None:
                    self._write_all([each for each in group if isinstance(each, Batch)])
                elif order is _Order.RESUME:
                    self._failure = None
                else:
                    is_open = False
            self._trim()

    def _write_all(self, batches: Sequence[Batch]) -> None:
        if self._failure is None:
            self._failure = self._commit([row for each in batches for row in each.rows])
        for each in batches:
            each.done(self._failure)

    def _commit(self, rows: Sequence[Row]) -> BaseException | None:
        try:
            self._execute(rows)
        except Exception as error:  # noqa: BLE001 (whatever it is, its writers wait for an answer)
            if self._is_written(rows[-1].version):
                return None
            _log.error("not stored", file=str(self._path), error=str(error))
            return error
        return None

    def _execute(self, rows: Sequence[Row]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                where = (row.resource, row.namespace, row.name)
                if row.is_deletion:
                    connection.execute(
                        "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                        where,
                    )
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                        (*where, row.version, row.last),
                    )
            connection.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._kept += len(rows)

    def _is_written(self, version: int) -> bool:
        """After a commit that failed: a full disk refuses it, yet an error may also come late."""
        try:
            row = self._connection.execute(
                "SELECT 1 FROM history WHERE version = ?", (version,)
            ).fetchone()
        except sqlite3.Error:
            return False
        return row is not None

    def _trim(self) -> None:
        """Forget the oldest history, many rows at a time."""
        if self._kept <= self._history_rows * 5 // 4:
            return
        try:
            cursor = self._connection.execute(
                "DELETE FROM history WHERE version <= (SELECT version FROM history"
                " ORDER BY version DESC LIMIT 1 OFFSET ?)",
                (self._history_rows,),
            )
            self._kept -= cursor.rowcount
        except sqlite3.Error as error:
            _log.warning("history not trimmed", error=str(error))


def _order_of(taken: Batch | _Order) -> _Order | None:
    return taken if isinstance(taken, _Order) else None
