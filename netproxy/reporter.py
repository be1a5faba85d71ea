"""What an operator should see with ``kubectl describe``: happenings as events of the API.

Source: kube-proxy 1.36, whose reasons and actions these are.
"""

from __future__ import annotations

from typing import Literal, Protocol

from netproxy.health.ports import ListenTrouble
from netproxy.kubernetes.event_series import EventType, Regarding


class Recorder(Protocol):
    """Writes events somewhere; never waits, never fails."""

    def record(
        self, regarding: Regarding, type_: EventType, reason: str, action: str, note: str
    ) -> None: ...


class Reporter:
    """Says what happens on one node.

    Args:
        recorder: Where to.
        node_name: Ours.
    """

    def __init__(self, recorder: Recorder, node_name: str) -> None:
        self._recorder = recorder
        # Its uid is its name here, as kubelet and kube-proxy have it: kubectl looks for that.
        self._node = Regarding("v1", "Node", "", node_name, node_name)

    def starting(self) -> None:
        """The proxy begins."""
        self._recorder.record(self._node, "Normal", "Starting", "StartKubeProxy", "netproxy starts")

    def cannot_listen(self, what: Literal["health", "metrics"], error: str) -> None:
        """One of the node's own servers has no port."""
        reason = (
            "FailedToStartProxierHealthcheck" if what == "health" else "FailedToStartMetricServer"
        )
        self._recorder.record(self._node, "Warning", reason, "StartKubeProxy", error)

    def port_trouble(self, trouble: ListenTrouble) -> None:
        """A Service's healthCheckNodePort cannot be opened; or it can, after all."""
        if not trouble.error:
            return
        service = trouble.service
        self._recorder.record(
            Regarding("v1", "Service", service.namespace, service.name),
            "Warning",
            "FailedToStartServiceHealthcheck",
            "Listen",
            f"node {self._node.name} failed to start healthcheck on port {trouble.port}: "
            f"{trouble.error}",
        )
