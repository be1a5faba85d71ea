"""What Kubernetes calls this machine."""

from __future__ import annotations

import os

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
"""Kubernetes' names of what the kernel calls machines, where they differ."""


def platform_name() -> str:
    """Such as ``linux/amd64``."""
    machine = os.uname().machine
    return f"linux/{_ARCHITECTURES.get(machine, machine)}"
