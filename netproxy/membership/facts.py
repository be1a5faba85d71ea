"""What a host tells about itself in its Node object."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from netproxy import __version__
from netproxy.membership.node import HostFacts

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""``uname -m`` → how Kubernetes spells it (label ``kubernetes.io/arch``: Go's names)."""


def read_facts() -> HostFacts:
    """Of this host."""
    machine = platform.machine()
    return HostFacts(
        cpus=os.cpu_count() or 1,
        memory_kib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024,
        architecture=_MACHINES.get(machine, machine),
        kernel=platform.release(),
        system=_system(),
        machine_id=_read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        version=f"netproxy-{__version__}",
    )


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
