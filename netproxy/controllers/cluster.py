"""All controllers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from netproxy.api.client import ObjectClient
from netproxy.controllers import nodes
from netproxy.controllers.balancers import BalancerController, PoolRange
from netproxy.controllers.contract import Controller
from netproxy.controllers.deployments import DeploymentController
from netproxy.controllers.endpoint_slices import EndpointSliceController
from netproxy.controllers.endpoints import EndpointsController, MirroringController
from netproxy.controllers.garbage import (
    EventController,
    NamespaceController,
    OwnerController,
    PodGarbageController,
    ServiceCidrController,
)
from netproxy.controllers.replica_sets import ReplicaSetController
from netproxy.controllers.runner import run_all
from netproxy.controllers.scheduler import Scheduler
from netproxy.controllers.slices import MOST_ENDPOINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """What an operator says.

    Attributes:
        cluster_cidrs: Of which nodes get parts for their Pods.
        node_masks: Length of such a part, by IP version.
        pool: Addresses for LoadBalancers; none: somebody else gives them.
        endpoints_per_slice: At most.
        node_grace_s: Without a sign of life for so long a node counts as gone.
        eviction_s: So long after that its Pods are deleted.
    """

    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    node_masks: tuple[tuple[int, int], ...] = ()
    pool: tuple[PoolRange, ...] = ()
    endpoints_per_slice: int = MOST_ENDPOINTS
    node_grace_s: float = nodes.GRACE_S
    eviction_s: float = nodes.EVICTION_S


def all_controllers(settings: ControllerSettings) -> list[Controller]:
    """One of each."""
    return [
        EndpointSliceController(settings.endpoints_per_slice),
        EndpointsController(),
        MirroringController(),
        Scheduler(),
        nodes.PodCidrController(settings.cluster_cidrs, dict(settings.node_masks)),
        nodes.NodeLifecycleController(settings.node_grace_s, settings.eviction_s),
        PodGarbageController(),
        OwnerController(),
        NamespaceController(),
        ServiceCidrController(),
        EventController(),
        ReplicaSetController(),
        DeploymentController(),
        BalancerController(settings.pool),
    ]


async def run_controllers(
    client: ObjectClient, settings: ControllerSettings, now: Callable[[], datetime]
) -> None:
    """Run all controllers until cancelled.

    Args:
        client: Reads and writes.
        settings: What an operator says.
        now: Tells the time, in UTC.
    """
    await run_all(all_controllers(settings), client, now)
