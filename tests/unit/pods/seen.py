"""Pods and what is seen of them, in a few words."""

from __future__ import annotations

from typing import Any

from netproxy.api.objects import Object
from netproxy.pods.core.model import ContainerSeen, Ended, Run, Sandbox, Seen, Trouble

NOW = 1_800_000_000.0
ADDRESSES = ("10.244.7.1", "fd00:244:7::1")
HOST = ("192.0.2.1", "2001:db8::1")


def container(name: str = "c", **fields: Any) -> Object:
    return {"name": name, "image": "none", "command": ["sleep", "1"], **fields}


def pod(*containers: Object, status: Object | None = None, **spec: Any) -> Object:
    made: Object = {
        "metadata": {"name": "p", "namespace": "default", "uid": "u-1"},
        "spec": {"containers": list(containers) or [container()], **spec},
    }
    return made if status is None else {**made, "status": status}


def running(attempt: int = 0, *, sandbox: int = 0, **fields: Any) -> Run:
    return Run(attempt, 0, sandbox, NOW - 5, **{"is_started": True, "is_ready": True, **fields})


def ended(
    code: int = 0, *, attempt: int = 0, streak: int = 0, sandbox: int = 0, ago_s: float = 1.0
) -> Run:
    """A run that took a second."""
    end = Ended(code, 0, NOW - ago_s - 1, NOW - ago_s)
    return Run(attempt, streak, sandbox, NOW - ago_s - 1, end)


def seen(
    *, sandbox: int | None = 0, leaving: bool = False, troubles: Any = None, **runs: Run | None
) -> Seen:
    """What is there; containers by name."""
    told: dict[str, Trouble] = troubles or {}
    return Seen(
        sandbox=None if sandbox is None else Sandbox(sandbox, ADDRESSES),
        next_sandbox=0 if sandbox is None else sandbox + 1,
        containers={name: ContainerSeen(run, None, told.get(name)) for name, run in runs.items()},
        leaving_since=NOW if leaving else None,
    )
