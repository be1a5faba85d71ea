"""The systemd unit of a host that has no cluster to run netproxy for it: decisions, no text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from netproxy.core.config import ProxyMode


class Unit(NamedTuple):
    """What is printed."""

    command: str
    """``netproxy run`` with its flags, spelled as a unit's command line."""
    capabilities: tuple[str, ...]
    writes_run: bool
    """Programs of iptables keep their lock in /run."""
    writes_settings: bool
    """Settings of the kernel change while netproxy runs, not only before."""


def plan_unit(
    executable: str, arguments: Sequence[str], mode: ProxyMode, *, legacy_iptables: bool = False
) -> Unit:
    """Decide what the unit may do.

    Args:
        executable: Absolute path of the program.
        arguments: What stands behind ``run``.
        mode: The proxy mode that these arguments choose.
        legacy_iptables: The host has rules in tables of iptables-legacy.
    """
    is_legacy = legacy_iptables or mode is ProxyMode.IPTABLES
    return Unit(
        command=" ".join(map(quote, [executable, "run", *arguments])),
        capabilities=("CAP_NET_ADMIN", "CAP_NET_RAW") if is_legacy else ("CAP_NET_ADMIN",),
        writes_run=is_legacy,
        writes_settings=mode is ProxyMode.IPTABLES,
    )


_PLAIN = re.compile(r"[A-Za-z0-9@+=:,./_-]+")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$"}


def quote(word: str) -> str:
    r"""One word of a unit's command line. Source: systemd.service(5), command lines.

    Example:
        >>> print(quote("--v=4"), quote("100% $HOME"))
        --v=4 "100%% $$HOME"
    """
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(map(_escape, word)) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
