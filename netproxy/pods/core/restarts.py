"""Whether and when a container that has ended is started again.

The first restart is at once; from then on each waits longer, 10 s, 20 s, ... 5 min, until one
lives for ten minutes.

Source: the kubelet's backoff (MaxContainerBackOff, initial 10 s, reset after twice the maximum),
restart policies of core/v1.
"""

from __future__ import annotations

from netproxy.pods.core.model import Container, Ended, Kind, Run

FIRST_DELAY_S = 10.0
LONGEST_DELAY_S = 300.0
FORGIVEN_AFTER_S = 600.0
"""A life of so many seconds makes up for all that failed before."""


def is_restarted(container: Container, policy: str, ended: Ended) -> bool:
    """Whether there will be another run after this end.

    Args:
        container: Which.
        policy: ``restartPolicy`` of the Pod.
        ended: How its last run ended.
    """
    if container.kind is Kind.SIDECAR:
        return True
    if container.kind is Kind.INIT and ended.code == 0:
        return False
    if policy == "Always":
        return True
    return policy == "OnFailure" and ended.code != 0


def delay_s(streak: int) -> float:
    """How long after the last end a run begins.

    Example:
        >>> [delay_s(streak) for streak in range(9)]
        [0.0, 0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]
    """
    if streak < 2:
        return 0.0
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(streak - 2, 10)))


def next_streak(run: Run) -> int:
    """The streak of the run after this one, which has ended."""
    ended = run.ended
    if ended is None or ended.lived_s >= FORGIVEN_AFTER_S:
        return 1
    return run.streak + 1


def next_start(run: Run, now: float) -> float:
    """When the run after this one may begin; a clock that was set back delays nobody for long."""
    ended = run.ended
    assert ended is not None
    return min(ended.finished_at, now) + delay_s(next_streak(run))
