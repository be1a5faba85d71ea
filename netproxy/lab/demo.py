"""The demo's story: a cluster without Kubernetes on two nodes, Services, traffic, and changes.

Rule 1: measures and tells; what it looks like on a screen is the business of ``cli.demo``.
Rule 2: everything comes by the API, from the manifests under ``templates/demo``: what a user would
apply. Addresses and Pods' names are read from the API.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netproxy.api.client import ObjectClient, Selection
from netproxy.api.objects import Object
from netproxy.api.resources import DEPLOYMENTS, ENDPOINT_SLICES, NODES, PODS, SERVICES
from netproxy.lab import cluster, hosted, process, traffic
from netproxy.lab.cluster import Lab
from netproxy.lab.process import ProcessError
from netproxy.lab.spread import Spread, measure_spread
from netproxy.lab.topology import LabSpec, resolve_topology
from netproxy.lab.traffic import Connection, Stream, Traffic
from netproxy.model.ip import Family, family_of

SERVICE_FILE = "my-service.yaml"
DATABASE_FILE = "external-database.yaml"
APP_FILE = "my-app.yaml"
SERVICE, DATABASE, APP, VISITOR = "my-service", "external-database", "myapp", "visitor"
LAB_PREFIX = "demo-"
REPLICAS = 4
PLAUSIBLE_P = 1e-6
"""A spread that chance makes less often than this was not made by chance."""

_CONNECTIONS_PER_ROUTE = 100
_CONCURRENCY = 8
STREAM_RATE = 250.0
_QUIET_S = 0.6
"""How long traffic flows before and after each change."""
_CHANGE_TIMEOUT_S = 10.0
_POLL_S = 0.005


class Way(NamedTuple):
    """One way to a Service: who connects, and to which of its addresses."""

    origin: str
    """In a few words, for people: ``a pod``."""
    space: str
    """The network namespace of who connects."""
    node: str
    """Whose rules it meets."""
    frontend: str
    """Kind of address: ``cluster IP``."""
    address: str
    port: int


class Walk(NamedTuple):
    """A way to a Service, and what became of the connections on it."""

    way: Way
    traffic: Traffic


class Change(NamedTuple):
    """What a change of the endpoints under traffic did."""

    pod: str
    """Who came; empty: nobody."""
    gone: str
    """Who went; empty: nobody."""
    connections: int
    failures: tuple[Connection, ...]
    first_ms: float
    """From the request until the first connection to who came was opened; inf: none was."""
    last_ms: float
    """From the request until the last connection to who went was opened; 0: none was."""


class Answer(NamedTuple):
    """What a Pod was told about a name."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The demo's manifests, as files and as what they say."""

    directory: Path

    def read(self, name: str) -> list[dict[str, Any]]:
        """Every document of one file."""
        return hosted.read_manifest(self.directory / name)

    @property
    def slices_directory(self) -> Path:
        """What controllers would have found, for who has no rights to run any."""
        return self.directory.with_name("demo-slices")


class Stage(NamedTuple):
    """Everything of the story that the API knows."""

    service: Object
    database: Object
    pods: Mapping[str, str]
    """Pods of my-service, each with its node."""
    visitor_node: str
    nodes: tuple[Object, ...]


def demo_spec(families: Sequence[Family], *, name: str | None = None) -> LabSpec:
    """The demo's lab; its name says which process it belongs to."""
    return LabSpec(
        name=name or f"{LAB_PREFIX}{os.getpid()}",
        nodes=2,
        hosts=("database",),
        families=tuple(families),
        echo_ports=(9376,),
        is_cluster=True,
    )


def remove_stale_labs() -> None:
    """Labs of demos that were killed: the process that their name tells is no more."""
    for lab in cluster.list_labs():
        pid = lab.removeprefix(LAB_PREFIX)
        if lab.startswith(LAB_PREFIX) and pid.isdigit() and not Path("/proc", pid).exists():
            cluster.down(lab)


def apply(lab: Lab, manifests: Manifests) -> None:
    """What ``kubectl apply --server-side -f templates/demo`` does; then wait until it has effect.

    Raises:
        ProcessError: Pods do not become ready.
        StatusError: the API refuses something.
    """
    families = {each.label for each in lab.topology.spec.families}
    for file in (SERVICE_FILE, DATABASE_FILE, APP_FILE):
        hosted.apply(lab, [_fitting(each, families) for each in manifests.read(file)])
    hosted.wait_for_pods(lab, [VISITOR])
    hosted.wait_for_endpoints(lab, SERVICE, REPLICAS)


def _fitting(obj: Object, families: set[str]) -> Object:
    """The object as a cluster of these IP families takes it."""
    spec = obj.get("spec", {})
    if obj["kind"] != "Service" or set(spec["ipFamilies"]) <= families:
        return obj
    own = [each for each in spec["clusterIPs"] if family_of(each).label in families]
    kept = [each for each in spec["ipFamilies"] if each in families]
    return {**obj, "spec": {**spec, "clusterIPs": own, "clusterIP": own[0], "ipFamilies": kept}}


def look(lab: Lab) -> Stage:
    """What the API knows now, once the load balancer has its addresses."""

    async def question(client: ObjectClient) -> Stage | None:
        service = await client.get(SERVICES, SERVICE, "default")
        if not (service.get("status") or {}).get("loadBalancer", {}).get("ingress"):
            return None
        pods = (await client.list(PODS, Selection("default", "app=MyApp"))).items
        visitor = await client.get(PODS, VISITOR, "default")
        names = {
            each["metadata"]["name"]: each["spec"]["nodeName"]
            for each in sorted(pods, key=lambda pod: str(pod["spec"].get("nodeName")))
            if hosted.is_ready(each) and "deletionTimestamp" not in each["metadata"]
        }
        return Stage(
            service,
            await client.get(SERVICES, DATABASE, "default"),
            names,
            visitor["spec"]["nodeName"],
            tuple((await client.list(NODES)).items),
        )

    return hosted.wait_for(lab, question, "my-service has no load balancer's address")


def resolved(lab: Lab, stage: Stage) -> Answer:
    """What the visitor was told when it asked for my-service; it writes that into its log.

    Raises:
        ProcessError: it was told nothing.
    """
    runs = hosted.data_dir(lab, stage.visitor_node) / "pods"
    deadline = time.monotonic() + _CHANGE_TIMEOUT_S
    while time.monotonic() < deadline:
        lines = [
            line.split(" ", 3)[3].split()
            for log in runs.glob("*/runs/visitor/*/log")
            for line in log.read_text().splitlines()
        ]
        streams = [words for words in lines if words[1:2] == ["STREAM"]]
        if streams:
            return Answer(streams[0][2], tuple(words[0] for words in streams))
        time.sleep(_POLL_S)
    raise ProcessError("the visitor was told nothing when it asked for my-service")


def list_ways(lab: Lab, stage: Stage) -> list[Way]:
    """Every way to my-service: from a pod, from a node and from outside, in each family."""
    spec = stage.service["spec"]
    (port,) = spec["ports"]
    cluster_ips = _by_family(spec["clusterIPs"])
    balancer_ips = _by_family(
        [each["ip"] for each in stage.service["status"]["loadBalancer"]["ingress"]]
    )
    node = lab.member("node-2")
    node_ips, client = _by_family(node.addresses), lab.member("client").name
    visitor = hosted.pod_namespace(lab, VISITOR)
    ways = []
    for family in lab.topology.spec.families:
        number, ip = port["port"], cluster_ips[family]
        ways += [
            Way("a pod", visitor, stage.visitor_node, "cluster IP", ip, number),
            Way("a node", node.name, "node-2", "cluster IP", ip, number),
            Way("outside", client, "node-1", "load balancer", balancer_ips[family], number),
            Way("outside", client, "node-2", "node port", node_ips[family], port["nodePort"]),
        ]
    return ways


def database_way(lab: Lab, stage: Stage) -> Way:
    """How a pod reaches the database outside the cluster."""
    spec = stage.database["spec"]
    visitor = hosted.pod_namespace(lab, VISITOR)
    (port,) = spec["ports"]
    node = stage.visitor_node
    return Way("a pod", visitor, node, "cluster IP", spec["clusterIP"], port["port"])


def wait_for_ways(lab: Lab, ways: Sequence[Way]) -> None:
    """Until every way leads somewhere.

    Raises:
        ProcessError: one does not.
    """
    for way in ways:
        if not traffic.wait_answer(way.space, way.address, way.port):
            raise ProcessError(
                f"nothing answers {way.origin} at {way.address} port {way.port}",
                hint=process.last_words(lab.log_path(way.node)),
            )


def walk(ways: Sequence[Way], *, report: Callable[[Walk], None] | None = None) -> list[Walk]:
    """Send the connections, one way after the other."""
    walks = []
    for way in ways:
        seen = traffic.probe(
            way.space,
            way.address,
            way.port,
            count=_CONNECTIONS_PER_ROUTE,
            concurrency=_CONCURRENCY,
        )
        walks.append(Walk(way, seen))
        if report is not None:
            report(walks[-1])
    return walks


def total_spread(walks: Sequence[Walk], endpoints: Sequence[str]) -> Spread:
    """Over all ways together."""
    counts: Counter[str] = Counter()
    for each in walks:
        counts.update(each.traffic.answered)
    return measure_spread(counts, endpoints)


def scale_up(lab: Lab, stage: Stage, ways: Sequence[Way]) -> Change:
    """One Pod more, while connections flow: ``kubectl scale``."""

    async def request(client: ObjectClient) -> None:
        patch = {"spec": {"replicas": REPLICAS + 1}}
        await client.patch(DEPLOYMENTS, APP, patch, namespace="default")

    return _change_under_traffic(lab, stage, ways, request, gone="")


def delete_pod(lab: Lab, stage: Stage, ways: Sequence[Way]) -> Change:
    """A Pod goes while connections flow, and another one takes its place: ``kubectl delete``."""
    gone = next(iter(stage.pods))

    async def request(client: ObjectClient) -> None:
        await client.delete(PODS, gone, "default")

    return _change_under_traffic(lab, stage, ways, request, gone=gone)


def _change_under_traffic(
    lab: Lab, stage: Stage, ways: Sequence[Way], request: hosted.Ask[None], *, gone: str
) -> Change:
    streams = [Stream(way.space, way.address, way.port, rate=STREAM_RATE) for way in ways]
    time.sleep(_QUIET_S)
    changed_at = time.monotonic()
    hosted.ask(lab, request)

    def newcomers(stream: Stream) -> set[str]:
        return {each.pod for each in stream.connections if each.pod} - set(stage.pods)

    deadline = changed_at + _CHANGE_TIMEOUT_S
    while time.monotonic() < deadline and not all(newcomers(each) for each in streams):
        time.sleep(_POLL_S)
    time.sleep(_QUIET_S)
    seen = [connection for stream in streams for connection in stream.stop().connections]
    came = {each.pod for each in seen if each.pod} - set(stage.pods)
    arrivals = [each.at_s for each in seen if each.pod in came]
    late = [each.at_s for each in seen if gone and each.pod == gone and each.at_s > changed_at]
    return Change(
        pod=min(came, default=""),
        gone=gone,
        connections=len(seen),
        failures=tuple(each for each in seen if each.error),
        first_ms=1000 * (min(arrivals) - changed_at) if arrivals else float("inf"),
        last_ms=1000 * (max(late) - changed_at) if late else 0.0,
    )


def render_rules(lab: Lab) -> str:
    """The rules of node-1 as ``netproxy render`` prints them from what the API has.

    Raises:
        ProcessError: it did not work.
    """

    async def question(client: ObjectClient) -> list[Object]:
        return [
            {"apiVersion": resource.api_version, "kind": resource.kind, **each}
            for resource in (SERVICES, ENDPOINT_SLICES)
            for each in (await client.list(resource)).items
        ]

    path = lab.state_dir / "rendered.yaml"
    path.write_text(yaml.dump_all(hosted.ask(lab, question), Dumper=yaml.CSafeDumper))
    flags = cluster.proxy_flags(lab.topology.spec, lab.member("node-1"))
    return _run_render("-f", str(path), *flags)


def render_dry(manifests: Manifests) -> str:
    """The rules that the demo would make, from the manifests alone; needs no rights at all."""
    spec = demo_spec((Family.IPV4, Family.IPV6), name="dry")
    flags = cluster.proxy_flags(spec, resolve_topology(spec).member("node-1"))
    directories = (manifests.directory, manifests.slices_directory)
    return _run_render(*(word for each in directories for word in ("-f", str(each))), *flags)


def _run_render(*arguments: str) -> str:
    done = subprocess.run(
        process.netproxy_command("render", *arguments),
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=process.environment(),
    )
    if done.returncode != 0:
        raise ProcessError("`netproxy render` failed", hint=done.stderr.strip())
    return done.stdout


def _by_family(addresses: Sequence[str]) -> Mapping[Family, str]:
    return {family_of(address): address for address in addresses}
