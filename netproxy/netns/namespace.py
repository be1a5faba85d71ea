"""Named network namespaces of this host, and the processes that live in them.

Rule 1: a network namespace belongs to a *thread*. Whatever must happen inside one happens in a
thread made for it, so that the caller's own namespace never changes; a process started from
that thread begins its life in the namespace.
Rule 2: what exists is read from the kernel (names under ``/run/netns``, ``/proc/*/ns/net``),
never from a state file: a process that is killed writes none.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from netproxy.errors import ConfigError, DataplaneError, UnsupportedError

NETNS_DIR = Path("/run/netns")

CLONE_NEWNET = 0x40000000
_MNT_DETACH = 2
_TERM_GRACE_S = 0.5
_KILL_GRACE_S = 3.0
_POLL_S = 0.01

_Identity = tuple[int, int]
"""Device and inode of a namespace: what makes two names, or a name and a process, the same."""
_T = TypeVar("_T")


def run_inside(namespace: str, function: Callable[[], _T]) -> _T:
    """What the function returns when it runs in a thread inside the namespace.

    Sockets that it opens and processes that it starts stay there; the calling thread never
    moves. An exception of the function is raised here.

    Raises:
        ConfigError: the namespace does not exist.
        UnsupportedError: this user may not enter it.
    """

    def enter_and_run() -> _T:
        enter(namespace)
        return function()

    return run_in_thread(enter_and_run)


def run_in_thread(function: Callable[[], _T]) -> _T:
    """What the function returns when it runs in a thread that dies afterwards."""
    with ThreadPoolExecutor(1, thread_name_prefix="netproxy-netns") as pool:
        return pool.submit(function).result()


def enter(namespace: str) -> None:
    """Move the calling *thread* into a named namespace, for good.

    Raises:
        ConfigError: the namespace does not exist.
        UnsupportedError: this user may not enter it.
    """
    try:
        descriptor = os.open(NETNS_DIR / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ConfigError(setting=namespace, problem="no such network namespace") from None
    try:
        enter_descriptor(descriptor, namespace)
    finally:
        os.close(descriptor)


def enter_descriptor(descriptor: int, name: str) -> None:
    """Move the calling *thread* into a namespace that is held open, for good.

    Args:
        descriptor: Of the namespace.
        name: What to call it in messages.

    Raises:
        DataplaneError: it is no network namespace.
        UnsupportedError: this user may not enter it.
    """
    _call("enter", name, "setns", descriptor, CLONE_NEWNET)


def unshare_network() -> None:
    """Move the calling *thread* into a new, nameless, empty network namespace.

    Raises:
        UnsupportedError: this user may not make one.
    """
    _call("make", "a network namespace", "unshare", CLONE_NEWNET)


def list_names() -> list[str]:
    """All names, sorted, whoever gave them."""
    try:
        return sorted(os.listdir(NETNS_DIR))
    except FileNotFoundError:
        return []


def list_inhabitants(names: Iterable[str]) -> dict[str, list[int]]:
    """Process ids per namespace, without this process; a name that vanished has none."""
    identities = {}
    for name in names:
        with contextlib.suppress(OSError):
            identities[_identity(os.stat(NETNS_DIR / name))] = name
    found: dict[str, list[int]] = {name: [] for name in identities.values()}
    for pid, identity in _scan_processes():
        if identity in identities:
            found[identities[identity]].append(pid)
    return found


def remove(names: Iterable[str]) -> None:
    """Kill whatever lives in the namespaces, then remove their names. Harmless when repeated.

    A descriptor on each namespace is kept until the end. The kernel can therefore not give
    the same inode number to somebody else's new namespace while processes are looked for.

    Raises:
        DataplaneError: a process would not die, or the kernel refused to unmount.
        UnsupportedError: this user may not do it.
    """
    names = list(names)
    with _held_open(names) as identities:
        _kill_inhabitants(identities)
        for name in names:
            remove_name(name)
        # Somebody may have slipped in between the look and the removal of the name.
        _kill_inhabitants(identities)


@contextlib.contextmanager
def _held_open(names: Iterable[str]) -> Iterator[set[_Identity]]:
    with contextlib.ExitStack() as stack:
        identities = set()
        for name in names:
            try:
                descriptor = os.open(NETNS_DIR / name, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue  # a file without a mount has mode 0, or it has just vanished
            stack.callback(os.close, descriptor)
            identities.add(_identity(os.fstat(descriptor)))
        yield identities


def remove_name(name: str) -> None:
    """Take a name away; with the last process inside, the namespace is gone. May be repeated.

    Raises:
        DataplaneError: the kernel refused to unmount.
        UnsupportedError: this user may not do it.
    """
    path = NETNS_DIR / name
    try:
        while True:  # mounted twice is possible, and must not survive
            _call("unmount", str(path), "umount2", os.fsencode(path), _MNT_DETACH)
    except DataplaneError as error:
        # EINVAL: not (or no longer) a mount point, as a killed `up` may leave it.
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    path.unlink(missing_ok=True)


def _kill_inhabitants(identities: set[_Identity]) -> None:
    """Ask with SIGTERM, then insist. Init's grandchildren count too: only the inode decides."""
    started = time.monotonic()
    asked: set[int] = set()
    while alive := [pid for pid, identity in _scan_processes() if identity in identities]:
        waited_s = time.monotonic() - started
        if waited_s > _KILL_GRACE_S:
            raise DataplaneError(
                operation="kill",
                subject=f"processes {alive}",
                errno=errno.EBUSY,
                hint="they do not even react to SIGKILL; see /proc/PID/stack",
            )
        for pid in alive:
            if waited_s > _TERM_GRACE_S:
                _signal_inhabitant(pid, signal.SIGKILL, identities)
            elif pid not in asked:
                asked.add(pid)
                _signal_inhabitant(pid, signal.SIGTERM, identities)
        time.sleep(_POLL_S)


def _signal_inhabitant(pid: int, number: signal.Signals, identities: set[_Identity]) -> None:
    """Signal a process, if that process number still means somebody who lives there."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _identity(os.stat(f"/proc/{pid}/ns/net")) in identities:
            signal.pidfd_send_signal(descriptor, number)
    except (FileNotFoundError, ProcessLookupError):
        return
    except PermissionError as error:
        raise UnsupportedError(f"may not end process {pid}", hint="run this as root") from error
    finally:
        os.close(descriptor)


def _scan_processes() -> Iterator[tuple[int, _Identity]]:
    """Every living process whose namespace we may see, without this one."""
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != own:
            with contextlib.suppress(OSError):  # gone, a zombie, or not ours to see
                yield int(entry), _identity(os.stat(f"/proc/{entry}/ns/net"))


def _identity(stat: os.stat_result) -> _Identity:
    return stat.st_dev, stat.st_ino


def _call(operation: str, subject: str, function: str, *arguments: int | bytes) -> None:
    """A libc function that returns -1 and sets errno (``os.setns`` needs Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[function](*arguments) == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.EPERM, errno.EACCES):
        raise UnsupportedError(f"may not {operation} {subject}", hint="run this as root")
    raise DataplaneError(operation=operation, subject=subject, errno=code)
