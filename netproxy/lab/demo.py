"""The demo's story: two example Services on two nodes, traffic, and changes under traffic.

Rule 1: measures and tells; what it looks like on a screen is the business of ``cli.demo``.
Rule 2: the manifests under ``templates/demo`` are the only place with the Services' addresses.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from netproxy.lab import cluster, process, traffic
from netproxy.lab.cluster import Lab
from netproxy.lab.process import ProcessError
from netproxy.lab.spread import Spread, measure_spread
from netproxy.lab.topology import LabSpec, Namespace, PodSpec, resolve_topology
from netproxy.lab.traffic import Connection, Stream, Traffic
from netproxy.model.ip import Family, family_of

SERVICE_FILE = "my-service.yaml"
SLICES_FILE = "my-service-endpoints.yaml"
DATABASE_FILE = "external-database.yaml"
LAB_PREFIX = "demo-"

PODS = (
    PodSpec("myapp-1", 1),
    PodSpec("myapp-2", 1),
    PodSpec("visitor", 1),
    PodSpec("myapp-3", 2),
    PodSpec("myapp-4", 2),
    PodSpec("myapp-5", 2),
)
NEWCOMER = "myapp-5"
"""Runs from the start, but no EndpointSlice names it until the demo adds it."""
LEAVER = "myapp-1"
PLAUSIBLE_P = 1e-6
"""A spread that chance makes less often than this was not made by chance."""

_CONNECTIONS_PER_ROUTE = 100
_CONCURRENCY = 8
STREAM_RATE = 250.0
_QUIET_S = 0.6
"""How long traffic flows before and after each change."""
_CHANGE_TIMEOUT_S = 5.0
_POLL_S = 0.005


class Way(NamedTuple):
    """One way to a Service: who connects, and to which of its addresses."""

    origin: str
    """In a few words, for people: ``a pod``."""
    source: str
    """Member of the lab."""
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
    connections: int
    failures: tuple[Connection, ...]
    effect_ms: float
    """Adding: until the pod's first connection was opened. Removing: until its last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The demo's manifests, as files and as what they say."""

    directory: Path

    def read(self, name: str) -> list[dict[str, Any]]:
        """Every document of one file."""
        text = (self.directory / name).read_text()
        return [each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each]

    def slices_with(self, added: Sequence[Namespace] = (), removed: Sequence[str] = ()) -> str:
        """The EndpointSlices with pods added and taken away, as a controller would write them."""
        slices = copy.deepcopy(self.read(SLICES_FILE))
        for each in slices:
            family = Family.IPV6 if each["addressType"] == "IPv6" else Family.IPV4
            each["endpoints"] = [
                endpoint
                for endpoint in each["endpoints"]
                if endpoint["targetRef"]["name"] not in removed
            ] + [
                {
                    "addresses": [pod.address(family)],
                    "nodeName": pod.node,
                    "targetRef": {"kind": "Pod", "name": pod.member, "namespace": "default"},
                }
                for pod in added
                if any((":" in address) == (family is Family.IPV6) for address in pod.addresses)
            ]
        return yaml.dump_all(slices, Dumper=yaml.CSafeDumper, sort_keys=False)

    def endpoints(self) -> dict[str, str]:
        """Pods that serve my-service at first, each with its node."""
        found: dict[str, str] = {}
        for each in self.read(SLICES_FILE):
            for endpoint in each["endpoints"]:
                found[endpoint["targetRef"]["name"]] = endpoint["nodeName"]
        return found


def demo_spec(families: Sequence[Family], *, name: str | None = None) -> LabSpec:
    """The demo's lab; its name says which process it belongs to."""
    return LabSpec(
        name=name or f"{LAB_PREFIX}{os.getpid()}",
        nodes=2,
        pods=PODS,
        hosts=("database",),
        families=tuple(families),
        echo_ports=(9376,),
    )


def remove_stale_labs() -> None:
    """Labs of demos that were killed: the process that their name tells is no more."""
    for lab in cluster.list_labs():
        pid = lab.removeprefix(LAB_PREFIX)
        if lab.startswith(LAB_PREFIX) and pid.isdigit() and not Path("/proc", pid).exists():
            cluster.down(lab)


def list_ways(manifests: Manifests, families: Sequence[Family]) -> list[Way]:
    """Every way to my-service: from a pod, from a node and from outside, in each family."""
    (service,) = manifests.read(SERVICE_FILE)
    (port,) = service["spec"]["ports"]
    cluster_ips = _by_family(service["spec"]["clusterIPs"])
    ingress = service["status"]["loadBalancer"]["ingress"]
    balancer_ips = _by_family([each["ip"] for each in ingress])
    node_ips = _by_family(resolve_topology(demo_spec(families)).member("node-2").addresses)
    ways = []
    for family in families:
        number = port["port"]
        ways += [
            Way("a pod", "visitor", "cluster IP", cluster_ips[family], number),
            Way("a node", "node-2", "cluster IP", cluster_ips[family], number),
            Way("outside", "client", "load balancer", balancer_ips[family], number),
            Way("outside", "client", "node port", node_ips[family], port["nodePort"]),
        ]
    return ways


def database_way(manifests: Manifests) -> Way:
    """How a pod reaches the database outside the cluster."""
    service = manifests.read(DATABASE_FILE)[0]
    (port,) = service["spec"]["ports"]
    return Way("a pod", "visitor", "cluster IP", service["spec"]["clusterIP"], port["port"])


def wait_for_ways(lab: Lab, ways: Sequence[Way]) -> None:
    """Until every way leads somewhere.

    Raises:
        ProcessError: one does not.
    """
    for way in ways:
        if not traffic.wait_answer(lab.member(way.source).name, way.address, way.port):
            node = lab.member(way.source).node or "node-1"
            raise ProcessError(
                f"nothing answers {way.source} at {way.address} port {way.port}",
                hint=process.last_words(lab.log_path(node)),
            )


def walk(
    lab: Lab, ways: Sequence[Way], *, report: Callable[[Walk], None] | None = None
) -> list[Walk]:
    """Send the connections, one way after the other."""
    walks = []
    for way in ways:
        seen = traffic.probe(
            lab.member(way.source).name,
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


def add_endpoint(lab: Lab, manifests: Manifests, ways: Sequence[Way]) -> Change:
    """Add a pod to my-service while connections flow."""
    text = manifests.slices_with(added=[lab.member(NEWCOMER)])
    streams, changed_at = _change_under_traffic(lab, ways, text)
    deadline = changed_at + _CHANGE_TIMEOUT_S
    while time.monotonic() < deadline and not all(
        any(each.pod == NEWCOMER for each in stream.connections) for stream in streams
    ):
        time.sleep(_POLL_S)
    time.sleep(_QUIET_S)
    seen = _stop(streams)
    arrivals = [each.at_s for each in seen if each.pod == NEWCOMER]
    effect_s = max(0.0, min(arrivals) - changed_at) if arrivals else float("inf")
    return _change(NEWCOMER, seen, effect_s)


def remove_endpoint(lab: Lab, manifests: Manifests, ways: Sequence[Way]) -> Change:
    """Take a pod away from my-service while connections flow. The pod itself goes on."""
    text = manifests.slices_with(added=[lab.member(NEWCOMER)], removed=[LEAVER])
    streams, changed_at = _change_under_traffic(lab, ways, text)
    time.sleep(2 * _QUIET_S)
    over_at = time.monotonic()
    seen = _stop(streams)
    late = [each.at_s for each in seen if each.pod == LEAVER and each.at_s > changed_at]
    effect_s = max(late) - changed_at if late else 0.0
    is_gone = not late or max(late) < over_at - _QUIET_S / 2
    return _change(LEAVER, seen, effect_s if is_gone else float("inf"))


def _change_under_traffic(lab: Lab, ways: Sequence[Way], text: str) -> tuple[list[Stream], float]:
    streams = [
        Stream(lab.member(way.source).name, way.address, way.port, rate=STREAM_RATE) for way in ways
    ]
    time.sleep(_QUIET_S)
    return streams, lab.write_manifest(SLICES_FILE, text)


def _stop(streams: Sequence[Stream]) -> list[Connection]:
    return [connection for stream in streams for connection in stream.stop().connections]


def _change(pod: str, seen: Sequence[Connection], effect_s: float) -> Change:
    failures = tuple(each for each in seen if each.error)
    return Change(pod, len(seen), failures, effect_s * 1000)


def render_rules(lab: Lab) -> str:
    """The rules of node-1 as ``netproxy render`` prints them; they are the kernel's.

    Raises:
        ProcessError: it did not work.
    """
    flags = cluster.proxy_flags(lab.topology.spec, lab.member("node-1"))
    return _run_render("-f", str(lab.manifests_dir), *flags)


def render_dry(manifests: Manifests) -> str:
    """The rules that the demo would make, from the manifests alone; needs no rights at all."""
    spec = demo_spec((Family.IPV4, Family.IPV6), name="dry")
    node = resolve_topology(spec).member("node-1")
    return _run_render("-f", str(manifests.directory), *cluster.proxy_flags(spec, node))


def follow_packet(rules: str, address: str) -> list[tuple[str, str]]:
    """What a packet to a Service's address meets: pairs of a map's or chain's name and a line.

    Args:
        rules: As ``netproxy render`` prints them.
        address: The Service's; the lines are those that mention it, and those of the chains
            that they lead to.
    """
    blocks = _blocks(rules)
    word = re.compile(rf"(?<![\w.:]){re.escape(address)}(?![\w.:])")
    hits = {
        name: [line for line in lines if word.search(line)]
        for name, lines in blocks.items()
        if name.startswith("map ")
    }
    verdicts = [(name, line) for name, lines in hits.items() for line in lines if "goto" in line]
    followed = list(verdicts)
    for _, line in verdicts:
        chain = "chain " + line.partition("goto ")[2].split()[0]
        followed += [(chain, rule) for rule in blocks.get(chain, [])]
    followed += [
        (name, line) for name, lines in hits.items() for line in lines if "goto" not in line
    ]
    return followed


def _blocks(rules: str) -> dict[str, list[str]]:
    """Lines per map and chain (``map endpoints``) without comments, of the first table."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    tables = 0
    for raw in rules.splitlines():
        line = re.sub(r' comment ".*"$', "", raw.partition("#")[0].strip()).rstrip(",")
        first = line.split(" ")[0]
        tables += first == "table"
        if tables > 1:
            break
        if first in ("map", "chain") and line.endswith("{"):
            current = blocks.setdefault(line.removesuffix(" {"), [])
        elif first == "}" and raw.startswith("\t}"):
            current = None
        elif current is not None and line:
            current.append(line)
    return blocks


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
