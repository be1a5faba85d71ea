"""The one door to the iptables programs: read all tables, change some chains.

There are two programs of each name: *legacy* speaks to ip_tables, *nft* to nf_tables, and neither
sees the other's rules. Everything goes through the variant that was chosen at the start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netproxy.errors import DataplaneError, UnsupportedError
from netproxy.ipt.change import Restore
from netproxy.ipt.text import Tables, read_counts, read_tables
from netproxy.kernel.addresses import has_family
from netproxy.kernel.iptables_drift import DriftGuard, LegacyDrift, NftDrift
from netproxy.model.ip import Family

VARIANTS = ("legacy", "nft")
_WORDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_LOCK_WAIT_S = 5
"""Source: kube-proxy 1.36, ``-w 5``."""
_TIMEOUT_S = 300
"""A program that takes longer hangs. 100,000 services take a tenth of this."""
_RESOURCE_PROBLEM = 4
"""Exit code of iptables when somebody else holds the lock. Source: iptables(8)."""
_INSTALL = "install iptables, or use --proxy-mode nftables, which needs no programs"

RenderRestore = Callable[[Restore], Iterable[str]]
"""Spells a change in pieces: the whole text of a large cluster need not be in memory at once."""


class Variant(NamedTuple):
    """Which programs are meant."""

    kind: str
    """``legacy`` or ``nft``."""
    is_plain: bool = False
    """The names without a variant stand for this one."""

    def program(self, family: Family, verb: str) -> str:
        """The name of a program: ``ip6tables-legacy-save``; without a verb, of the main one."""
        kind = "" if self.is_plain else self.kind
        return "-".join(filter(None, [_WORDS[family], kind, verb]))


class IptablesTables:
    """The tables of one family in the network namespace of the calling thread.

    See :class:`netproxy.contracts.Iptables`.

    Args:
        family: The IP family.
        variant: Which programs to use.
        render: Spells a change as the input of iptables-restore.
        tell: Called with each change before it is carried out.
        guard: Told of our own changes, to tell them from others'.
    """

    def __init__(
        self,
        family: Family,
        variant: Variant,
        render: RenderRestore,
        tell: Callable[[Restore], None] | None = None,
        guard: DriftGuard | None = None,
    ) -> None:
        self._family = family
        self._render = render
        self._tell = tell
        self._guard = guard
        self._save = variant.program(family, "save")
        self._restore = variant.program(family, "restore")
        self.batches_sent = self.bytes_sent = 0

    @property
    def family(self) -> Family:
        return self._family

    def read(self) -> Tables:
        """See the contract."""
        return read_tables(run_program([self._save], (), "read", "all tables"))

    def read_counts(self) -> dict[str, int]:
        """See the contract."""
        command = [self._save, "--counters", "--table", "nat"]
        return read_counts(run_program(command, (), "read", "counters of table nat"))

    def restore(self, change: Restore) -> None:
        """See the contract."""
        if self._tell is not None:
            self._tell(change)
        if self._guard is None:
            self._write(change)
        else:
            self._guard.writing(lambda: self._write(change), len(change.tables))

    def _write(self, change: Restore) -> None:
        command = [self._restore, "-w", str(_LOCK_WAIT_S), "--noflush"]
        tables = " and ".join([f"table {t.name}" for t in change.tables])
        sent = 0

        def counted() -> Iterator[str]:
            nonlocal sent
            for piece in self._render(change):
                sent += len(piece)  # nothing in it is beyond ASCII
                yield piece

        try:
            run_program(command, counted(), "restore", tables)
        except DataplaneError as error:
            error.hint = error.hint or _line_of(self._render(change), error.message)
            raise
        self.batches_sent += 1
        self.bytes_sent += sent


def run_program(command: list[str], stdin: Iterable[str], operation: str, subject: str) -> str:
    """Run one of the programs; returns what it printed.

    Raises:
        DataplaneError: it failed; the message is its own.
        UnsupportedError: there is no such program.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError as error:
        raise UnsupportedError(f"there is no {command[0]} on this host", hint=_INSTALL) from error
    with process:
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it gave up early, and says why
                process.stdin.writelines(stdin)
            stdout, stderr = process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise DataplaneError(
                operation=operation,
                subject=subject,
                errno=errno.ETIMEDOUT,
                hint=f"{command[0]} took more than {_TIMEOUT_S} s",
            ) from error
    if process.returncode:
        words = " ".join(stderr.split()) or f"exit code {process.returncode}"
        raise _failure(command[0], process.returncode, words, operation, subject)
    return stdout


def _failure(
    name: str, returncode: int, words: str, operation: str, subject: str
) -> DataplaneError:
    number, hint = errno.EINVAL, ""
    lock = re.search(r"can't open lock file (\S+): (.*)", words)
    if lock is not None:
        number, hint = errno.EACCES, _about_lock(lock[1], lock[2])
    elif "Permission denied" in words or "you must be root" in words:
        number, hint = errno.EPERM, "run it as root"
    elif returncode == _RESOURCE_PROBLEM:
        number, hint = errno.EBUSY, f"another program holds the lock for over {_LOCK_WAIT_S} s"
    return DataplaneError(
        operation=operation,
        subject=subject,
        errno=number,
        detail=f"{name} says: {words[:300]}",
        hint=hint,
    )


def _about_lock(path: str, trouble: str) -> str:
    """What to do when the lock that all legacy programs of a host share cannot be opened."""
    if trouble == os.strerror(errno.EROFS):
        return f"make {path} before, or its directory writable: a mount, ReadWritePaths= of systemd"
    return f"only root may open {path}: run it as user 0, or with CAP_DAC_READ_SEARCH"


def _line_of(pieces: Iterable[str], words: str) -> str:
    """The line of the input that a message names."""
    found = re.search(r"line:? (\d+)", words)
    lines = "".join(pieces).splitlines() if found else []
    if found is None or int(found[1]) > len(lines):
        return ""
    return f"line {found[1]} is: {lines[int(found[1]) - 1]}"


def choose_variant(wanted: str = "auto") -> Variant:
    """The variant to use: the one that Kubernetes' rules are in, else the host's own.

    Args:
        wanted: ``legacy``, ``nft`` or ``auto``.

    Raises:
        UnsupportedError: there are no such programs on this host.
    """
    there = installed_variants()
    matching = [variant for variant in there if wanted in ("auto", variant.kind)]
    if not matching:
        which = "iptables" if wanted == "auto" else f"iptables-{wanted}"
        raise UnsupportedError(f"there is no {which}-restore on this host", hint=_INSTALL)
    hinted = [variant for variant in matching if len(matching) > 1 and _has_hint(variant)]
    return hinted[0] if len(hinted) == 1 else matching[0]


def installed_variants() -> list[Variant]:
    """The variants that this host has programs of, what the plain names stand for first."""
    found = []
    if shutil.which("iptables-restore"):
        version = run_program(["iptables", "--version"], (), "ask", "iptables for its version")
        kind = "nft" if "nf_tables" in version else "legacy"
        found.append(Variant(kind, is_plain=True))
    for kind in VARIANTS:
        variant = Variant(kind)
        if kind not in [other.kind for other in found] and shutil.which(
            variant.program(Family.IPV4, "restore")
        ):
            found.append(variant)
    return found


def _has_hint(variant: Variant) -> bool:
    """Whether kubelet or a proxy works with this variant: its chains tell."""
    try:
        text = run_program([variant.program(Family.IPV4, "save")], (), "read", "all tables")
    except (DataplaneError, UnsupportedError):
        return False
    return ":KUBE-" in text


def open_tables(
    families: Iterable[Family],
    variant: Variant,
    render: RenderRestore,
    tell: Callable[[Restore], None] | None = None,
    guard: DriftGuard | None = None,
) -> dict[Family, IptablesTables]:
    """The tables of those families that this host can program. Arguments as ``IptablesTables``.

    Raises:
        UnsupportedError: no iptables here, or no permission to use it.
        DataplaneError: it does not work.
    """
    opened = {f: IptablesTables(f, variant, render, tell, guard) for f in families if has_family(f)}
    for family in opened:
        _check_access(family, variant)
    return opened


def why_unusable(family: Family, variant: Variant) -> str:
    """Why there is no table nat to work with, in words; empty when there is one.

    Source: kube-proxy 1.36 looks for chain POSTROUTING of table nat.

    Raises:
        UnsupportedError: this process may not use it.
    """
    name = variant.program(family, "")
    if shutil.which(name) is None:
        return f"there is no {name}; {_INSTALL}"
    try:
        _check_access(family, variant)
    except DataplaneError as error:
        return error.message
    return ""


def _check_access(family: Family, variant: Variant) -> None:
    """Ask for a table: saving alone needs no rights where none was ever used."""
    name = variant.program(family, "")
    command = [name, "-w", str(_LOCK_WAIT_S), "-t", "nat", "-S", "POSTROUTING"]
    try:
        run_program(command, (), "read", "table nat")
    except DataplaneError as error:
        if error.errno == errno.EACCES:
            raise UnsupportedError(error.message, hint=error.hint) from error
        if error.errno != errno.EPERM:
            raise
        raise UnsupportedError(
            f"programming {name} needs CAP_NET_ADMIN, which this process "
            f"(user {os.geteuid()}) does not have in this network namespace",
            hint="run it as root, or look without touching: netproxy render",
        ) from error


def open_guard(variant: Variant, families: Iterable[Family]) -> DriftGuard:
    """A drift sensor for the tables of a variant."""
    if variant.kind == "legacy":
        return LegacyDrift([family for family in families if has_family(family)])
    return NftDrift()
