"""``/healthz``, ``/livez`` and ``/readyz``.

Source: kube-proxy 1.36, pkg/proxy/healthcheck; ``/readyz`` is ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from netproxy.health.state import FamilyHealth, HealthState
from netproxy.serving.pages import Page, json_page
from netproxy.web import Answer, Request

_NEVER = "0001-01-01T00:00:00Z"
"""Go's zero time."""


def health_pages(health: HealthState, count: Callable[[str, int], None]) -> dict[str, Page]:
    """The pages by path.

    Args:
        health: What they are answered from.
        count: Told of the path and status of each answer.
    """

    def page(path: str, answer: Callable[[HealthState], Answer]) -> Page:
        async def answer_and_count(request: Request) -> Answer:  # noqa: ARG001 - any will do
            answered = answer(health)
            count(path, answered.status)
            return answered

        return answer_and_count

    answers = {"/healthz": healthz, "/livez": livez, "/readyz": readyz}
    return {path: page(path, answer) for path, answer in answers.items()}


def healthz(health: HealthState) -> Answer:
    """Whether rules keep up with objects, and whether load balancers may use this node."""
    is_good = health.is_healthy and health.is_node_eligible
    return _state(health, {"nodeEligible": health.is_node_eligible}, is_good=is_good)


def livez(health: HealthState) -> Answer:
    """Whether rules keep up with objects."""
    return _state(health, {}, is_good=health.is_healthy)


def readyz(health: HealthState) -> Answer:
    """Whether the rules of every family are in place and keep up, and what is missing."""
    families = health.families()
    missing = [] if families else ["no proxy has begun"]
    for family, state in families.items():
        if not state.is_healthy:
            missing.append(f"{family.label}: changes wait for too long")
        elif state.last_synced is None:
            missing.append(f"{family.label}: no sync has worked yet")
    body = {
        "ready": not missing,
        "currentTime": go_time(health.now),
        "missing": missing,
        "status": {f.label: _family_state(state) for f, state in families.items()},
    }
    return json_page(body, 503 if missing else 200)


def go_time(seconds: float) -> str:
    """Seconds since 1970 as Go's JSON has times.

    Example:
        >>> go_time(0.25), go_time(1700000000)
        ('1970-01-01T00:00:00.25Z', '2023-11-14T22:13:20Z')
    """
    microseconds = round(seconds * 1e6)
    whole, rest = divmod(microseconds, 1_000_000)
    fraction = f".{rest:06d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + fraction + "Z"


def _state(health: HealthState, eligible: dict[str, object], *, is_good: bool) -> Answer:
    families = health.families()
    now = go_time(health.now)
    synced = [state.last_synced for state in families.values() if state.last_synced is not None]
    last = go_time(max(synced)) if synced else _NEVER
    body: dict[str, object] = {
        # As kube-proxy: "now" for as long as it is well. The families have the real times.
        "lastUpdated": now if is_good else last,
        "currentTime": now,
        **eligible,
        "healthy": health.is_healthy,
    }
    status = {
        family.label: _family_state(state)
        for family, state in families.items()
        if state.last_synced is not None or not state.is_healthy
    }
    if status:
        body["status"] = status
    return json_page(body, 200 if is_good else 503)


def _family_state(state: FamilyHealth) -> dict[str, object]:
    last = _NEVER if state.last_synced is None else go_time(state.last_synced)
    return {"lastUpdated": last, "healthy": state.is_healthy}
