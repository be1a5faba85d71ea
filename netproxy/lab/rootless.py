"""Become able to make network namespaces: as root, or inside a user namespace of one's own.

A user namespace ends with its processes, and so does every namespace made inside: a lab made
there serves one process tree (the demo, a test run), not several commands one after the other.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from netproxy.errors import NetproxyError, UnsupportedError
from netproxy.netns import namespace

_MARK = "NETPROXY_ROOTLESS"
"""Set in the environment of the process that already runs in its own user namespace."""
_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount")
_MS_NOSUID_NODEV = 2 | 4
_PROBE_TIMEOUT_S = 10.0


def may_make_namespaces() -> bool:
    """Whether this process, as it is, may make network namespaces."""
    try:
        namespace.run_in_thread(namespace.unshare_network)
    except NetproxyError:
        return False
    return True


def is_rootless() -> bool:
    """Whether this process has started anew in a user namespace of its own."""
    return _MARK in os.environ


def require_namespaces() -> None:
    """Go on only if this process may make network namespaces that outlive it.

    Raises:
        UnsupportedError: it may not.
    """
    if not may_make_namespaces():
        raise UnsupportedError(
            "a lab that outlives this command needs root",
            hint="run it with sudo; `netproxy demo` works without where user namespaces do",
        )


def ensure_namespaces(arguments: Sequence[str]) -> None:
    """Go on only if this process may make network namespaces; else start anew where it may.

    Args:
        arguments: What netproxy was called with, to be called with again.

    Raises:
        UnsupportedError: neither root nor user namespaces are to be had.
    """
    if os.environ.get(_MARK) == "1":
        _hide_run_directory()
        os.environ[_MARK] = "2"
        return
    if may_make_namespaces():
        return
    if not _may_make_user_namespaces():
        raise UnsupportedError(
            "neither root nor unprivileged user namespaces are available here",
            hint="run it with sudo, or allow user namespaces: "
            "sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns",
        )
    _start_anew(arguments)


def _may_make_user_namespaces() -> bool:
    program = shutil.which(_UNSHARE[0])
    if program is None:
        return False
    # Mounting is what containers and AppArmor forbid even where unshare itself succeeds.
    test = "mount -t tmpfs none /run && unshare --net true"
    try:
        done = subprocess.run(
            [*_UNSHARE, "--", "sh", "-c", test],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _start_anew(arguments: Sequence[str]) -> NoReturn:
    os.environ[_MARK] = "1"
    path = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
    path += [part for part in [os.environ.get("PYTHONPATH", "")] if part]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    command = [*_UNSHARE, "--", sys.executable, "-m", "netproxy", *arguments]
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted here


def _hide_run_directory() -> None:
    """An empty ``/run`` of our own: the real one belongs to real root, and is not writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"netproxy", b"/run", b"tmpfs", _MS_NOSUID_NODEV, b"mode=755") != 0:
        problem = os.strerror(ctypes.get_errno())
        raise UnsupportedError(
            f"cannot mount a private /run in this user namespace: {problem}", hint="run as root"
        )
