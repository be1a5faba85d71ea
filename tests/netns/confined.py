"""What a systemd unit or a container may do, done to a process without systemd and containers.

Not here: filters of system calls and of socket families.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

_DENY_EXEC_GAIN = """
import ctypes, os, sys
PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1
ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)  # before Linux 6.3: no such thing
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Confinement(NamedTuple):
    """What a process is left with. Its user stays 0."""

    capabilities: Sequence[str]
    """Without ``CAP_``, in any case."""
    writable: Sequence[str] = ()
    """What can be written although the root file system cannot."""
    writes_settings: bool = False
    """/proc/sys can be written."""
    memory_is_writable_or_executable: bool = False
    """No memory is ever both, or becomes executable later."""

    def wrap(self, *command: str) -> list[str]:
        """The command line that runs a command like that, in mount namespaces of its own."""
        mounts = [f"mount --bind {path} {path}" for path in self.writable]
        mounts.append("mount -o remount,bind,ro /")
        if not self.writes_settings:
            mounts += ["mount --bind /proc/sys /proc/sys", "mount -o remount,bind,ro /proc/sys"]
        script = "; ".join(["set -e", *mounts, 'exec "$@"'])
        kept = "".join(f",+{name.lower()}" for name in self.capabilities)
        drop = ["setpriv", "--no-new-privs", f"--bounding-set=-all{kept}", "--inh-caps=-all"]
        if self.memory_is_writable_or_executable:
            command = (sys.executable, "-c", _DENY_EXEC_GAIN, *command)
        return ["unshare", "--mount", "sh", "-c", script, "sh", *drop, *command]
