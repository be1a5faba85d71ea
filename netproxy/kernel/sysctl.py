"""Kernel settings under /proc/sys, of the network namespace of the calling thread."""

from __future__ import annotations

from pathlib import Path

from netproxy.errors import DataplaneError

_ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """The value of a setting such as ``net/ipv4/ip_forward``; None: this kernel has none."""
    try:
        return (_ROOT / name).read_text().strip()
    except OSError:
        return None


def names(directory: str) -> list[str]:
    """What there is under a directory such as ``net/ipv6/conf``; nothing where there is none."""
    try:
        return sorted(each.name for each in (_ROOT / directory).iterdir())
    except OSError:
        return []


def ensure(name: str, value: str) -> list[str]:
    """Give a setting a value, unless it has it; returns what was done, in words.

    Raises:
        DataplaneError: it cannot be written.
    """
    before = read(name)
    if before == value:
        return []
    try:
        (_ROOT / name).write_text(value)
    except OSError as error:
        raise DataplaneError(
            operation="write",
            subject=f"sysctl {name}",
            errno=error.errno or 0,
            hint=f"set it yourself: sysctl -w {name.replace('/', '.')}={value}",
        ) from error
    return [f"sysctl {name} = {value} (was {before})"]
