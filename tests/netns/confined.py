"""What a systemd unit or a container may do, done to a process without systemd and containers.

Not here: filters of system calls and of socket families.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_DENY_EXEC_GAIN = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)  # before Linux 6.3: no such thing
os.execvp(sys.argv[1], sys.argv[1:])
"""


_NEEDED = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]]
"""Python, what is installed for it, and the checkout."""


def _show_everybody(needed: Sequence[Path]) -> Iterator[str]:
    """Commands after which anybody gets at these directories, whoever's home they are in."""
    hidden = {path: top for path in needed if (top := _closed(path)) is not None}
    if hidden:
        yield "mount -t tmpfs none /mnt"
    for number, path in enumerate(hidden):
        yield f"mkdir /mnt/{number}; mount --bind {path} /mnt/{number}"
    for top in dict.fromkeys(hidden.values()):
        yield f"mount -t tmpfs -o mode=755 none {top}"
    for number, path in enumerate(hidden):
        yield f"mkdir -p {path}; mount --bind /mnt/{number} {path}"


def _closed(path: Path) -> Path | None:
    """The first directory on the way that only some may enter."""
    ways = [*reversed(path.parents), path]
    return next((way for way in ways if not way.stat().st_mode & stat.S_IXOTH), None)


class Confinement(NamedTuple):
    """What a process is left with."""

    capabilities: Sequence[str]
    """Without ``CAP_``, in any case."""
    writable: Sequence[str] = ()
    """What can be written although the root file system cannot."""
    writes_settings: bool = False
    """/proc/sys and /sys can be written."""
    memory_is_writable_or_executable: bool = False
    """No memory is ever both, or becomes executable later."""
    user: int = 0
    """Another one keeps the capabilities nevertheless, as systemd's AmbientCapabilities have it."""

    def wrap(self, *command: str) -> list[str]:
        """The command line that runs a command like that, in mount namespaces of its own."""
        mounts = list(_show_everybody(_NEEDED)) if self.user else []
        mounts += [f"mount --bind {path} {path}" for path in self.writable]
        mounts.append("mount -o remount,bind,ro /")
        for place in () if self.writes_settings else ("/proc/sys", "/sys"):
            mounts += [f"mount --rbind {place} {place}", f"mount -o remount,bind,ro {place}"]
        script = "; ".join(["set -e", *mounts, 'exec "$@"'])
        kept = "".join(f",+{name.lower()}" for name in self.capabilities)
        drop = ["setpriv", "--no-new-privs", f"--bounding-set=-all{kept}"]
        if self.user:
            somebody = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
            drop += [*somebody, f"--inh-caps=-all{kept}", f"--ambient-caps=-all{kept}"]
        else:
            drop += ["--inh-caps=-all"]
        if self.memory_is_writable_or_executable:
            command = (sys.executable, "-c", _DENY_EXEC_GAIN, *command)
        return ["unshare", "--mount", "sh", "-c", script, "sh", *drop, *command]
