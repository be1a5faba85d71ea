"""How long it takes from a new Service to its first answer on another node."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import time

from netproxy.api.client import ObjectClient, Selection
from netproxy.api.resources import ENDPOINT_SLICES, SERVICES
from netproxy.lab import cluster, hosted
from netproxy.lab.topology import LabSpec, PodSpec
from netproxy.model.ip import Family
from netproxy.netns import namespace

_PORT = 9376
_TRY_S = 0.004
"""An address that nobody has yet swallows packets: a try is given up after so long."""
_PATIENCE_S = 20.0


def first_answer(address: str) -> float:
    """When (CLOCK_MONOTONIC) the first connection from here is answered."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(_TRY_S)
            try:
                client.connect((address, 80))
                client.settimeout(1.0)
                client.recv(16)
            except OSError:
                continue
            return time.monotonic()
    raise RuntimeError(f"{address} never answered")


async def _slice_seen(client: ObjectClient, name: str) -> float:
    selection = Selection("default", f"kubernetes.io/service-name={name}")
    listed = await client.list(ENDPOINT_SLICES, selection)
    async for event in client.watch(ENDPOINT_SLICES, listed.resource_version, selection):
        if event.object.get("endpoints"):
            return time.monotonic()
    raise RuntimeError("the watch ended")


async def _create(client: ObjectClient, number: int, asker: str) -> tuple[float, float, float]:
    """Seconds until the API had it, until its slice was told, and until it answered."""
    name, address = f"s{number}", f"10.96.7.{number + 1}"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"app": "echo"},
            "clusterIP": address,
            "ports": [{"port": 80, "targetPort": _PORT}],
        },
    }
    seen = asyncio.create_task(_slice_seen(client, name))
    answered = asyncio.create_task(
        asyncio.to_thread(namespace.run_inside, asker, lambda: first_answer(address))
    )
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    await client.create(SERVICES, service)
    made = time.monotonic()
    return made - begun, await seen - begun, await answered - begun


def born_services(count: int) -> dict[str, float]:
    """Create Services one after the other; medians in milliseconds."""
    spec = LabSpec(
        name=f"bench-{os.getpid()}",
        pods=(PodSpec("server", 1), PodSpec("asker", 2)),
        families=(Family.IPV4,),
        echo_ports=(_PORT,),
        is_cluster=True,
    )

    async def create_all(client: ObjectClient) -> list[tuple[float, float, float]]:
        asker = hosted.pod_namespace(lab, "asker")
        return [await _create(client, number, asker) for number in range(count)]

    with cluster.running(spec) as lab:
        times = hosted.ask(lab, create_all)
    api, slices, answers = (sorted(1000 * each for each in row) for row in zip(*times, strict=True))
    return {
        "api_ms": statistics.median(api),
        "slice_ms": statistics.median(slices),
        "answer_ms": statistics.median(answers),
        "slowest_ms": answers[-1],
        "count": float(count),
    }
