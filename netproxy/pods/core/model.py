"""A Pod as this node finds it: its sandbox, and the runs of its containers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import NamedTuple

from netproxy.api.objects import Object

GRACE_S = 30
"""From SIGTERM to SIGKILL where the Pod does not say. Source: the API's default."""


class Kind(Enum):
    """What a container is to its Pod."""

    INIT = auto()
    """Runs to its end before the next one begins."""
    SIDECAR = auto()
    """An init container with restartPolicy Always: begins in its turn and stays."""
    MAIN = auto()


class Container(NamedTuple):
    """One container of a Pod's spec."""

    name: str
    kind: Kind
    spec: Object


class Ended(NamedTuple):
    """How a run ended."""

    code: int
    signal: int
    """0: by itself."""
    started_at: float
    """Seconds since 1970, as all times here; 0: it never ran."""
    finished_at: float
    error: str = ""
    """Why it could not be started; empty: it was."""
    is_lost: bool = False
    """Nobody saw how."""

    @property
    def lived_s(self) -> float:
        return self.finished_at - self.started_at if self.started_at else 0.0


class Run(NamedTuple):
    """One life of a container."""

    attempt: int
    """From 0: how many there were before."""
    streak: int
    """How many there were before that did not last; see ``restarts``."""
    sandbox: int
    """In which sandbox, by number."""
    started_at: float
    ended: Ended | None = None
    """None: it is alive."""
    is_started: bool = False
    """Its startup probe has succeeded, or it has none."""
    is_ready: bool = False
    """Its readiness probe says so, or it has none and is started."""
    condemned: str = ""
    """Which probe says that it must be restarted, in words; empty: none."""
    stopping_until: float | None = None
    """When it will be killed; None: it is not being stopped."""

    @property
    def is_alive(self) -> bool:
        return self.ended is None


class Trouble(NamedTuple):
    """Why a container, or the sandbox, does not come to be."""

    reason: str
    """In one word, for programs: ``CreateContainerConfigError``."""
    message: str
    """For people."""
    at: float = 0.0
    """When it was found out."""
    is_final: bool = False
    """Trying again is in vain."""


class ContainerSeen(NamedTuple):
    """The runs of one container."""

    run: Run | None = None
    """The latest; None: there was none."""
    before: tuple[int, Ended] | None = None
    """Attempt and end of the one before it."""
    trouble: Trouble | None = None


class Sandbox(NamedTuple):
    """What a Pod's containers share: its network namespace, or the node's."""

    number: int
    """From 0: how many there were before."""
    addresses: tuple[str, ...]


NEVER_RUN = ContainerSeen()
_NOBODY: Mapping[str, ContainerSeen] = MappingProxyType({})


class Seen(NamedTuple):
    """All that this node knows of a Pod besides what the API has."""

    sandbox: Sandbox | None = None
    may_begin: bool = True
    """Whether a new sandbox would reach Services; who makes that so tells us."""
    sandbox_trouble: Trouble | None = None
    next_sandbox: int = 0
    """The number that the next one gets."""
    containers: Mapping[str, ContainerSeen] = _NOBODY
    leaving_since: float | None = None
    """When we heard that it is to go; None: it is not."""

    def of(self, name: str) -> ContainerSeen:
        return self.containers.get(name, NEVER_RUN)


def containers_of(pod: Object) -> list[Container]:
    """Init containers first, each list in the spec's order."""
    spec = pod["spec"]
    found = [
        Container(
            each["name"],
            Kind.SIDECAR if each.get("restartPolicy") == "Always" else Kind.INIT,
            each,
        )
        for each in spec.get("initContainers") or ()
    ]
    return found + [Container(each["name"], Kind.MAIN, each) for each in spec["containers"]]


def is_on_host_network(pod: Object) -> bool:
    """Whether it has no network of its own."""
    return bool(pod["spec"].get("hostNetwork"))


def is_over(pod: Object) -> bool:
    """Whether the API says that it will never run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def grace_of(pod: Object) -> float:
    """Seconds from SIGTERM to SIGKILL: what was asked for when it was deleted, or what it says."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is None:
        asked = pod["spec"].get("terminationGracePeriodSeconds")
    return float(GRACE_S if asked is None else asked)
