"""Which of root's rights this process has, and which of them its work takes.

Found by trying, on Linux 6.18 as user 65534 (``tests/netns/test_rights.py``):

=============================  =====================================================
nftables mode                  CAP_NET_ADMIN
iptables mode, nft variant     CAP_NET_ADMIN
iptables mode, legacy variant  CAP_NET_ADMIN, CAP_NET_RAW, CAP_DAC_READ_SEARCH
removing others' legacy rules  the same
a lower OOM score              CAP_SYS_RESOURCE
size of conntrack's table      user 0 of the host, in the host's network namespace
=============================  =====================================================

CAP_NET_ADMIN includes the settings of a network namespace under ``/proc/sys/net``, where that can
be written at all. CAP_DAC_READ_SEARCH is for ``/run/xtables.lock`` and
``/proc/net/ip_tables_names``, which only root may open; user 0 can do without.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from netproxy.errors import UnsupportedError


class Right(NamedTuple):
    """A capability, and what would not work without it."""

    name: str
    number: int
    """Source: linux/capability.h."""
    purpose: str


NET_ADMIN = Right("CAP_NET_ADMIN", 12, "rules and connections are the network's administration")
NET_RAW = Right("CAP_NET_RAW", 13, "iptables-legacy speaks to the kernel through a raw socket")

_HINT = (
    "run it as root, or give it the capability: setpriv --ambient-caps, AmbientCapabilities= of "
    "systemd, capabilities.add of a container"
)


def require(rights: Iterable[Right], *, status: Path = Path("/proc/thread-self/status")) -> None:
    """End at once, with a clear word, where nothing could be programmed.

    A process may have rights that do not count here, as root of a user namespace that does not own
    the network namespace; that is for the kernel to say.

    Args:
        rights: All that are needed.
        status: Of this process.

    Raises:
        UnsupportedError: some are missing.
    """
    missing = lacking(rights, status=status)
    if missing:
        names = " and ".join(right.name for right in missing)
        purposes = "; ".join(right.purpose for right in missing)
        raise UnsupportedError(
            f"this process (user {os.geteuid()}) may not program the kernel: "
            f"{names} missing ({purposes})",
            hint=_HINT,
        )


def lacking(
    rights: Iterable[Right], *, status: Path = Path("/proc/thread-self/status")
) -> list[Right]:
    """Those of the rights that this process does not have now."""
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(), re.MULTILINE)
    effective = int(match[1], 16) if match else 0
    return [right for right in rights if not effective >> right.number & 1]
