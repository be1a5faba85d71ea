"""Services from a Kubernetes API server."""

from __future__ import annotations

from netproxy.sources.kubernetes.outbox import Batch
from netproxy.sources.kubernetes.readiness import NodeWait
from netproxy.sources.kubernetes.source import watch_kubernetes

__all__ = ["Batch", "NodeWait", "watch_kubernetes"]
