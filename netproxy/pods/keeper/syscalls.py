"""System calls that Python 3.11 does not have; each raises ``OSError``.

Source: unshare(2), setns(2), mount(2), pivot_root(2), open_tree(2), move_mount(2).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MNT_DETACH = 2

_OPEN_TREE, _MOVE_MOUNT = 428, 429
"""Numbers since Linux 5.0 are the same on all architectures but Alpha."""
_PR_SET_CHILD_SUBREAPER = 36
_AT_FDCWD = -100
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_AT_RECURSIVE = 0x8000
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_SYMLINKS = 0x4, 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def unshare(flags: int) -> None:
    """Namespaces of its own for this process; of process ids, for its children."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int) -> None:
    """Enter a namespace, or those of the process behind a pidfd (Linux 5.8)."""
    _check(_libc.setns(descriptor, flags), "setns")


def become_subreaper() -> None:
    """Orphans among our descendants become our children (prctl(2))."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def mount(source: str, target: str, kind: str, flags: int) -> None:
    """Put a file system at a place."""
    encoded = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), None), f"mount {target}")


def enter_root(directory: str) -> None:
    """Make a directory the root, and let go of the old one."""
    mount(directory, directory, "", MS_BIND | MS_REC)
    os.chdir(directory)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root {directory}")
    _check(_libc.umount2(b".", MNT_DETACH), "umount2 of the old root")
    os.chdir("/")


def pick_up(path: str, *, recursive: bool = False) -> int:
    """A descriptor of a copy of what is at a path, to be put down elsewhere."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    found: int = _libc.syscall(
        ctypes.c_long(_OPEN_TREE),
        ctypes.c_long(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_ulong(flags),
    )
    return _check(found, f"open_tree {path}")


def put_down(descriptor: int, path: str) -> None:
    """Let what was picked up appear at a path."""
    done: int = _libc.syscall(
        ctypes.c_long(_MOVE_MOUNT),
        ctypes.c_long(descriptor),
        ctypes.c_char_p(b""),
        ctypes.c_long(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.c_ulong(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS),
    )
    _check(done, f"move_mount {path}")


def _check(result: int, what: str) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
