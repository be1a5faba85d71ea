"""What a node's proxy asks of its host before the first rule: kernel settings, OOM score.

Source: kube-proxy 1.36, start-up; Documentation/networking/nf_conntrack-sysctl.rst. Unlike
kube-proxy, nothing is lowered that an administrator has raised.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_MOST_CONNECTIONS = 1_048_576
"""kube-proxy's cap of what it asks for."""
_PREFIX = "net/netfilter/nf_conntrack_"
_HASHSIZE = "/sys/module/nf_conntrack/parameters/hashsize"
_KERNEL_DEFAULTS = {"tcp_timeout_established": 432_000, "tcp_timeout_close_wait": 60}
"""In seconds. Another value that is higher than what is asked for is an administrator's."""


class Wishes(NamedTuple):
    """What to ask for; 0 leaves a setting alone. Times in seconds."""

    conntrack_max_per_core: int = 0
    conntrack_min: int = 0
    tcp_established_s: int = 0
    tcp_close_wait_s: int = 0
    tcp_be_liberal: bool = False
    udp_s: int = 0
    udp_stream_s: int = 0
    oom_score_adj: int | None = None
    """None: leave it alone."""
    route_localnet: bool = False
    """Let packets from and to 127.0.0.0/8 pass interfaces, for NodePorts on localhost."""


class Write(NamedTuple):
    """A file that should hold another value."""

    path: str
    before: str | None
    """None: there is no such file."""
    value: str

    def __str__(self) -> str:
        return f"{_name(self.path)} = {self.value} (was {self.before})"


class Trouble(NamedTuple):
    """A value that could not be written."""

    what: str
    error: str
    hint: str


class Report(NamedTuple):
    """What was done, in words, and what was not."""

    done: list[str]
    troubles: list[Trouble]


Read = Callable[[str], str | None]
"""The content of a file; None: there is none, or it cannot be read."""


def plan_writes(wishes: Wishes, cpus: int, read: Read) -> Iterator[Write]:
    """What has to be written so that the host is as wished.

    Args:
        wishes: As the operator has them.
        cpus: How many processors the host has.
        read: Reads a file, given its path.
    """
    if wishes.conntrack_max_per_core > 0:
        yield from _plan_table(wishes, cpus, read)
    for name, seconds in (
        ("tcp_timeout_established", wishes.tcp_established_s),
        ("tcp_timeout_close_wait", wishes.tcp_close_wait_s),
    ):
        path = f"/proc/sys/{_PREFIX}{name}"
        before = read(path)
        is_raised = _is_number(before) and int(before or 0) > seconds
        if seconds > 0 and not (is_raised and int(before or 0) != _KERNEL_DEFAULTS[name]):
            yield from _unless_equal(path, before, seconds)
    for name, seconds in (
        ("udp_timeout", wishes.udp_s),
        ("udp_timeout_stream", wishes.udp_stream_s),
        ("tcp_be_liberal", int(wishes.tcp_be_liberal)),
    ):
        path = f"/proc/sys/{_PREFIX}{name}"
        if seconds > 0:
            yield from _unless_equal(path, read(path), seconds)
    if wishes.route_localnet:
        path = "/proc/sys/net/ipv4/conf/all/route_localnet"
        yield from _unless_equal(path, read(path), 1)
    if wishes.oom_score_adj is not None:
        path = "/proc/self/oom_score_adj"
        yield from _unless_equal(path, read(path), wishes.oom_score_adj)


def _plan_table(wishes: Wishes, cpus: int, read: Read) -> Iterator[Write]:
    """Room for connections, and for finding them quickly: four in a bucket."""
    path = f"/proc/sys/{_PREFIX}max"
    wanted = max(wishes.conntrack_max_per_core * cpus, wishes.conntrack_min)
    wanted = min(wanted, _MOST_CONNECTIONS)
    before = read(path)
    current = int(before or 0) if _is_number(before) else 0
    if current < wanted:
        yield Write(path, before, str(wanted))
    buckets = read(_HASHSIZE) or read(f"/proc/sys/{_PREFIX}buckets")  # the former is root's only
    if _is_number(buckets) and int(buckets or 0) < max(wanted, current) // 4:
        yield Write(_HASHSIZE, buckets, str(max(wanted, current) // 4))


def _unless_equal(path: str, before: str | None, value: int) -> Iterator[Write]:
    if before != str(value):
        yield Write(path, before, str(value))


def _is_number(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdigit()


def prepare_host(wishes: Wishes, *, root: Path = Path("/")) -> Report:
    """Carry the wishes out as far as this user may.

    Args:
        wishes: As the operator has them.
        root: Where ``proc`` and ``sys`` are.
    """

    def read(path: str) -> str | None:
        try:
            return (root / path.lstrip("/")).read_text().strip()
        except OSError:
            return None

    report = Report([], [])
    for write in plan_writes(wishes, count_cpus(root), read):
        try:
            (root / write.path.lstrip("/")).write_text(write.value)
        except OSError as error:
            report.troubles.append(_trouble(write, error))
        else:
            report.done.append(str(write))
    return report


def _trouble(write: Write, error: OSError) -> Trouble:
    name = _name(write.path)
    if write.before is None:
        return Trouble(
            f"{name} = {write.value}",
            "this kernel, or this network namespace, has no such setting",
            "modprobe nf_conntrack" if "conntrack" in name else "",
        )
    if write.path.startswith("/proc/self"):
        hint = "needs CAP_SYS_RESOURCE; --oom-score-adj 0 asks for nothing"
    elif write.path.startswith("/proc/sys"):
        hint = f"on the host: sysctl -w {name}={write.value}"
    else:
        hint = f"on the host: echo {write.value} > {write.path}"
    return Trouble(f"{name} = {write.value}", error.strerror or str(error), hint)


def _name(path: str) -> str:
    """As sysctl(8) has it.

    Example:
        >>> _name("/proc/sys/net/netfilter/nf_conntrack_max")
        'net.netfilter.nf_conntrack_max'
    """
    if path.startswith("/proc/sys/"):
        return path.removeprefix("/proc/sys/").replace("/", ".")
    return path


def count_cpus(root: Path = Path("/")) -> int:
    """Processors that are at work, whatever this process may use of them.

    Example:
        >>> count_cpus() >= 1
        True
    """
    try:
        text = (root / "sys/devices/system/cpu/online").read_text()
    except OSError:
        return os.cpu_count() or 1
    spans = re.findall(r"(\d+)(?:-(\d+))?", text)
    return sum(int(last or first) - int(first) + 1 for first, last in spans) or 1
