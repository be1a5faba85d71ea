"""Which network namespaces labs have in the kernel: read from there, never from a state file."""

from __future__ import annotations

from netproxy.lab.names import parse_namespace_name
from netproxy.netns import namespace


def list_names(lab: str | None = None) -> list[str]:
    """Names of the namespaces of one lab, or of all labs, sorted."""
    parsed = ((name, parse_namespace_name(name)) for name in namespace.list_names())
    return [name for name, parts in parsed if parts and lab in (None, parts.lab)]
