"""Looking into live iptables tables: which chains there are, where they jump, what passed.

Legacy tables are read with libiptc by way of python-iptables: one system call and no text. Without
it, and for tables of the nft variant, which it cannot see, iptables-save is asked.

Of python-iptables only the thin layer over libiptc is used. Its ``Table`` and ``Rule`` keep handles
for the whole process, so that a second network namespace would see the first one's rules; they
commit when they are closed, and they cannot do IPv4 and IPv6 in one process. A handle of our own is
opened for each question in the caller's namespace and freed with the answer.
"""

from __future__ import annotations

import ctypes
import errno
import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from netproxy.errors import DataplaneError
from netproxy.kernel.iptables import Variant, run_program
from netproxy.model.ip import Family

_NAMES = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}


class Counter(NamedTuple):
    """What one rule has seen."""

    packets: int
    bytes: int


class LiveTables(Protocol):
    """The tables of one family, as they are in the calling thread's network namespace.

    Each method reads anew, and raises DataplaneError if that fails. A table or a chain that is not
    there is empty; looking does not bring a table into being.
    """

    def chains(self, table: str) -> set[str]:
        """The chains of a table, built-in ones included."""
        ...

    def jumps(self, table: str, chain: str) -> list[str]:
        """The target of each rule, in order; empty for a rule that only counts."""
        ...

    def counters(self, table: str, chain: str) -> list[Counter]:
        """What each rule has seen, in order."""
        ...


def open_live_tables(family: Family, variant: Variant) -> LiveTables:
    """The best reader for this variant's tables on this host."""
    if variant.kind == "legacy" and has_library():
        return LibraryTables(family)
    return SavedTables(family, variant)


def has_library() -> bool:
    """Whether python-iptables is installed and has found libiptc."""
    return _library(Family.IPV4) is not None


class LibraryTables:
    """See :class:`LiveTables`. Legacy tables through libiptc; ``has_library`` must be true."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._iptc = _library(family)

    def chains(self, table: str) -> set[str]:
        with self._opened(table) as handle:
            return set(self._chains(handle)) if handle else set()

    def jumps(self, table: str, chain: str) -> list[str]:
        with self._opened(table) as handle:
            target = self._iptc.iptc_get_target
            return [target(rule, handle).decode() for rule in self._rules(chain, handle)]

    def counters(self, table: str, chain: str) -> list[Counter]:
        with self._opened(table) as handle:
            seen = [rule.contents.counters for rule in self._rules(chain, handle)]
            return [Counter(each.pcnt, each.bcnt) for each in seen]

    def _chains(self, handle: Any) -> Iterator[str]:
        name = self._iptc.iptc_first_chain(handle)
        while name is not None:
            yield name.decode()
            name = self._iptc.iptc_next_chain(handle)

    def _rules(self, chain: str, handle: Any) -> Iterator[Any]:
        if not handle:
            return
        rule = self._iptc.iptc_first_rule(chain.encode(), handle)
        while rule:
            yield rule
            rule = self._iptc.iptc_next_rule(rule, handle)

    @contextmanager
    def _opened(self, table: str) -> Iterator[Any]:
        """A copy of a table as it is now; None when nobody has used it here."""
        if not _is_used(self._family, table):
            yield None
            return
        error = _errno_location()()
        handle = self._iptc.iptc_init(table.encode())
        if not handle:
            number = error.contents.value
            raise DataplaneError(operation="read", subject=f"table {table}", errno=number)
        try:
            yield handle
        finally:
            self._iptc.iptc_free(handle)


class SavedTables:
    """See :class:`LiveTables`. Through the text of iptables-save, of either variant."""

    def __init__(self, family: Family, variant: Variant) -> None:
        self._family = family
        self._is_legacy = variant.kind == "legacy"
        self._save = variant.program(family, "save")

    def chains(self, table: str) -> set[str]:
        return set(re.findall(r"^:(\S+) ", self._text(table), re.MULTILINE))

    def jumps(self, table: str, chain: str) -> list[str]:
        return [_target(rule) for *_, rule in self._rules(table, chain)]

    def counters(self, table: str, chain: str) -> list[Counter]:
        return [Counter(int(packets), int(size)) for packets, size, _ in self._rules(table, chain)]

    def _rules(self, table: str, chain: str) -> list[tuple[str, str, str]]:
        """Packets, bytes, and what follows the chain's name."""
        pattern = rf"^\[(\d+):(\d+)\] -A {re.escape(chain)}( .*)?$"
        return re.findall(pattern, self._text(table), re.MULTILINE)

    def _text(self, table: str) -> str:
        if self._is_legacy and not _is_used(self._family, table):
            return ""
        return run_program([self._save, "-c", "-t", table], (), "read", f"table {table}")


def _target(rule: str) -> str:
    words = iter(shlex.split(rule))
    for word in words:
        if word in ("-j", "-g"):
            return next(words)
        if word == "--comment":
            next(words)  # whatever it says
    return ""


def _is_used(family: Family, table: str) -> bool:
    """Whether a legacy table exists here: asking the kernel about one that does not makes it."""
    try:
        names = Path("/proc/thread-self/net", _NAMES[family]).read_text()
    except FileNotFoundError:  # nobody ever needed the kernel's module
        return False
    except PermissionError as error:
        raise DataplaneError(
            operation="read", subject=f"table {table}", errno=errno.EPERM, hint="run it as root"
        ) from error
    return table in names.split()


@cache
def _library(family: Family) -> Any:
    """Libiptc's functions for a family; None when there is no such library here."""
    try:
        with warnings.catch_warnings():
            # It has escape sequences and imports of another age.
            warnings.simplefilter("ignore")
            from iptc import ip4tc, ip6tc
    except (ImportError, OSError, AttributeError):
        # Not installed, or libiptc or libxtables was not found: then it stumbles over None.
        return None
    return ip4tc.iptc if family is Family.IPV4 else ip6tc.ip6tc


@cache
def _errno_location() -> Any:
    """Where the C library keeps a thread's errno: ctypes looks after its own functions' only."""
    location = ctypes.CDLL(None).__errno_location
    location.restype = ctypes.POINTER(ctypes.c_int)
    return location
