"""A lab whose nodes are a cluster without Kubernetes, exactly as hosts would be.

The first node runs ``netproxy standalone``, all others ``netproxy run --run-pods``; Pods come by
the API, and the agents run them. Nothing here is wired by hand but the wire between the hosts, and
the routes by which hosts outside the cluster find its Pods.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from netproxy.api.client import ObjectClient, Selection
from netproxy.api.objects import Object
from netproxy.api.resources import BY_KIND, CORE_EVENTS, ENDPOINT_SLICES, NODES, PODS, Resource
from netproxy.errors import SourceError
from netproxy.lab import names, process, topology
from netproxy.lab.cluster import Lab, Report
from netproxy.lab.names import Role
from netproxy.lab.process import ProcessError
from netproxy.lab.topology import Namespace
from netproxy.model.ip import Family, parse_address, parse_prefix
from netproxy.netns import namespace

READY_S = 30.0
"""How long a cluster may take on a busy machine."""
POOLS = {Family.IPV4: "203.0.113.10-203.0.113.99", Family.IPV6: "fd00:203::10-fd00:203::99"}
"""Where load balancers' addresses come from; inside ``topology.EXTERNAL_CIDRS``."""
_POLL_S = 0.02
_T = TypeVar("_T")
Ask = Callable[[ObjectClient], Awaitable[_T]]


def start(lab: Lab, *, report: Report) -> None:
    """Bring the cluster up, with the lab's Pods in it.

    Args:
        lab: Its namespaces exist.
        report: Is told what has been reached.

    Raises:
        ProcessError: a node did not become ready.
    """
    first, *others = lab.topology.of_role(Role.NODE)
    lab.processes[first.name] = start_server(lab, first)
    _wait_for_file(lab, node_config(lab))
    report(f"{first.member} serves the API; kubectl's way in is {admin_config(lab)}")
    for each in others:
        lab.processes[each.name] = _start_node(lab, each)
    nodes = wait_for_nodes(lab)
    report(f"{len(nodes)} nodes are ready and know the ways to each other")
    _tell_outsiders(lab, nodes)
    spec = lab.topology.spec
    for path in sorted(lab.manifests_dir.iterdir()):
        apply(lab, read_manifest(path))
    if spec.pods:
        apply(lab, [_echo_pod(lab, each) for each in spec.pods])
        wait_for_pods(lab, [each.name for each in spec.pods])
        report(f"{len(spec.pods)} Pods are ready")


def data_dir(lab: Lab, node: str) -> Path:
    """What a node keeps."""
    return lab.state_dir / node


def admin_config(lab: Lab) -> Path:
    """The kubeconfig for people; works inside the lab."""
    return data_dir(lab, lab.topology.of_role(Role.NODE)[0].member) / "admin.conf"


def node_config(lab: Lab) -> Path:
    """The kubeconfig with which nodes join."""
    return admin_config(lab).with_name("node.conf")


def pod_namespace(lab: Lab, pod: str) -> str:
    """The network namespace of a Pod of namespace ``default``."""
    return names.namespace_name(lab.topology.spec.name, Role.POD, pod)


def start_server(lab: Lab, node: Namespace) -> process.Process:
    """The control plane, with what its node does besides."""
    spec = lab.topology.spec
    pools = ",".join(POOLS[each] for each in spec.families)
    flags = [word for each in node.addresses for word in ("--api-address", each)]
    flags += ["--load-balancer-pool", pools, "--dns-upstream", "none"]
    flags += ["--cluster-cidr", topology.cidr_list(topology.CLUSTER_CIDRS, spec.families)]
    flags += ["--service-cidr", topology.cidr_list(topology.SERVICE_CIDRS, spec.families)]
    return _start_process(lab, node, "standalone", *flags)


def _start_node(lab: Lab, node: Namespace) -> process.Process:
    spec = lab.topology.spec
    flags = ["--run-pods", "--kubeconfig", str(node_config(lab))]
    flags += ["--cluster-cidr", topology.cidr_list(topology.CLUSTER_CIDRS, spec.families)]
    return _start_process(lab, node, "run", *flags)


def _start_process(lab: Lab, node: Namespace, verb: str, *flags: str) -> process.Process:
    prefix = names.namespace_name(lab.topology.spec.name, Role.POD, "")
    common = ["--hostname-override", node.member, "--pod-namespace-prefix", prefix]
    common += ["--data-dir", str(data_dir(lab, node.member)), "--oom-score-adj", "0"]
    common += [word for each in node.addresses for word in ("--node-ip", each)]
    command = process.netproxy_command(verb, *common, *flags)
    return process.spawn(node.name, command, log=lab.log_path(node.member))


def _wait_for_file(lab: Lab, path: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not path.exists():
        _look_alive(lab, deadline, f"{path.name} is not there")
        time.sleep(_POLL_S)


def _look_alive(lab: Lab, deadline: float, problem: str) -> None:
    for node in lab.topology.of_role(Role.NODE):
        running = lab.processes.get(node.name)
        if running is not None and running.poll() is not None:
            raise ProcessError(
                f"netproxy on {node.member} ended with exit code {running.returncode}",
                hint=process.last_words(lab.log_path(node.member)),
            )
    if time.monotonic() > deadline:
        first = lab.topology.of_role(Role.NODE)[0]
        raise ProcessError(
            f"after {READY_S:g} s: {problem}", hint=process.last_words(lab.log_path(first.member))
        )


def ask(lab: Lab, question: Ask[_T]) -> _T:
    """What a question to the API brings; it is asked from inside the lab.

    Raises:
        StatusError: the API refuses.
        SourceError: it cannot be reached.
    """
    config = str(admin_config(lab))
    first = lab.topology.of_role(Role.NODE)[0]
    return namespace.run_inside(first.name, lambda: asyncio.run(_ask(config, question)))


async def _ask(config: str, question: Ask[_T]) -> _T:
    from netproxy.apiclient.objects import HttpObjects
    from netproxy.kubernetes.connect import open_client
    from netproxy.kubernetes.contract import ClientSettings

    client = open_client(ClientSettings(kubeconfig=config, qps=-1.0))
    try:
        return await question(HttpObjects(client, "netproxy-lab"))
    finally:
        await client.close()


def apply(lab: Lab, objects: Sequence[Object]) -> list[Object]:
    """``kubectl apply --server-side`` of objects; returns what they are now.

    Raises:
        StatusError: the API refuses one.
        SourceError: it cannot be reached.
    """

    async def question(client: ObjectClient) -> list[Object]:
        return [await _apply(client, each) for each in objects]

    return ask(lab, question)


async def _apply(client: ObjectClient, obj: Object) -> Object:
    resource, metadata = _resource_of(obj), obj["metadata"]
    namespace_of = metadata.get("namespace", "default") if resource.namespaced else ""
    return await client.patch(
        resource,
        metadata["name"],
        {name: value for name, value in obj.items() if name != "status"},
        namespace=namespace_of,
        how="application/apply-patch+yaml",
    )


def _resource_of(obj: Object) -> Resource:
    kind = (str(obj.get("apiVersion")), str(obj.get("kind")))
    if kind not in BY_KIND:
        raise SourceError(f"{' '.join(kind)} is not served here")
    return BY_KIND[kind]


def read_manifest(path: Path) -> list[Object]:
    """All documents of a file."""
    import yaml

    return [each for each in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if each]


def wait_for(lab: Lab, question: Ask[_T | None], problem: str) -> _T:
    """Ask again and again until there is an answer.

    Args:
        lab: Which.
        question: Returns None as long as there is none.
        problem: What is said if none comes.

    Raises:
        ProcessError: none came in time.
    """
    deadline = time.monotonic() + READY_S

    async def until(client: ObjectClient) -> _T | None:
        while time.monotonic() < deadline:
            try:
                found = await question(client)
            except SourceError:
                found = None
            if found is not None:
                return found
            await asyncio.sleep(_POLL_S)
        return None

    found = ask(lab, until)
    if found is None:
        _look_alive(lab, deadline, problem)
        raise ProcessError(problem)
    return found


def wait_for_nodes(lab: Lab) -> list[Object]:
    """All nodes, once each is ready and has a prefix for its Pods."""
    count = len(lab.topology.of_role(Role.NODE))

    async def question(client: ObjectClient) -> list[Object] | None:
        nodes = (await client.list(NODES)).items
        good = [each for each in nodes if is_ready(each) and each["spec"].get("podCIDRs")]
        return good if len(good) == count else None

    return wait_for(lab, question, "not all nodes are ready")


def wait_for_pods(lab: Lab, wanted: Sequence[str]) -> list[Object]:
    """Pods of namespace ``default`` by name, once all of them are ready."""

    async def question(client: ObjectClient) -> list[Object] | None:
        pods = (await client.list(PODS, Selection("default"))).items
        found = [each for each in pods if each["metadata"]["name"] in wanted and is_ready(each)]
        return found if len(found) == len(wanted) else None

    try:
        return wait_for(lab, question, f"not all of these Pods are ready: {', '.join(wanted)}")
    except ProcessError as error:
        raise ProcessError(str(error), hint="; ".join(_troubles(lab)) or error.hint) from error


def _troubles(lab: Lab) -> list[str]:
    """Warnings about Pods, for who wonders why they do not come."""

    async def question(client: ObjectClient) -> list[Object]:
        return (await client.list(CORE_EVENTS, Selection("default", fields="type=Warning"))).items

    return [
        f"{each['involvedObject']['name']}: {each['message']}" for each in ask(lab, question)[-3:]
    ]


def wait_for_endpoints(lab: Lab, service: str, count: int) -> None:
    """Until a Service has that many endpoints in each address family of its slices."""

    async def question(client: ObjectClient) -> bool | None:
        labels = f"kubernetes.io/service-name={service}"
        slices = (await client.list(ENDPOINT_SLICES, Selection("default", labels))).items
        numbers: dict[str, int] = {}
        for each in slices:
            ready = [e for e in each["endpoints"] or () if e["conditions"].get("ready", True)]
            kind = each["addressType"]
            numbers[kind] = numbers.get(kind, 0) + len(ready)
        return True if numbers and set(numbers.values()) == {count} else None

    wait_for(lab, question, f"Service {service} has not got {count} endpoints")


def is_ready(obj: Object) -> bool:
    """Condition Ready of a Node or a Pod."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _tell_outsiders(lab: Lab, nodes: Sequence[Object]) -> None:
    """Hosts outside find Pods behind their nodes, as in a routed cluster."""
    from netproxy.netns.wiring import RouteEntry, Wiring

    routes = [
        RouteEntry(prefix, parse_address(address["address"]))
        for node in nodes
        for prefix in map(parse_prefix, node["spec"]["podCIDRs"])
        for address in node["status"]["addresses"]
        if address["type"] == "InternalIP"
        and (":" in address["address"]) == (prefix.family is Family.IPV6)
    ]

    def put() -> None:
        with Wiring("a host outside the cluster") as here:
            for each in routes:
                here.put_route(each)

    for role in (Role.BACKBONE, Role.CLIENT, Role.HOST):
        for space in lab.topology.of_role(role):
            namespace.run_inside(space.name, put)


def _echo_pod(lab: Lab, pod: topology.PodSpec) -> Object:
    """A Pod that answers with its name."""
    ports = lab.topology.spec.echo_ports
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": "default", "labels": {"app": "echo"}},
        "spec": {
            "nodeName": f"node-{pod.node}",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "echo",
                    "image": "none",
                    "command": process.echo_command(pod.name, ports),
                    "readinessProbe": {"tcpSocket": {"port": ports[0]}, "periodSeconds": 1},
                }
            ],
        },
    }
