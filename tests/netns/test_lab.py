"""Labs in the kernel: they come up, packets arrive, and nothing is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from netproxy.errors import EXIT_BAD_INPUT, ConfigError, NetproxyError
from netproxy.lab import build, census, cluster, rootless, status, traffic
from netproxy.lab.process import ProcessError
from netproxy.lab.topology import LabSpec, Namespace, PodSpec, default_pods
from netproxy.model.ip import Family
from netproxy.netns import namespace
from tests.patience import patience

DUAL = (Family.IPV4, Family.IPV6)
NETPROXY = (sys.executable, "-m", "netproxy")
PROTOCOLS = ("tcp", "udp")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not rootless.may_make_namespaces(),
    reason="needs root, or unshare --user --map-root-user --net --mount",
)

_counter = iter(range(10_000))


@pytest.fixture
def name() -> Iterator[str]:
    """A name that no other lab has; whatever gets that name is removed."""
    unique = f"t{os.getpid()}-{next(_counter)}"
    yield unique
    cluster.down(unique)


BringUp = Callable[..., cluster.Lab]


@pytest.fixture
def bring_up(name: str) -> Iterator[BringUp]:
    """``cluster.up``; what came up goes down after the test."""
    labs: list[cluster.Lab] = []

    def up(spec: LabSpec, *, with_proxy: bool) -> cluster.Lab:
        labs.append(cluster.up(spec, with_proxy=with_proxy))
        return labs[-1]

    yield up
    for lab in labs:
        lab.down()


def spec(name: str, **fields: object) -> LabSpec:
    pods = default_pods(nodes=2, per_node=2)
    return LabSpec(**{"name": name, "pods": pods, **fields})  # type: ignore[arg-type]


def run_netproxy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NETPROXY, *arguments], capture_output=True, text=True, timeout=patience(60)
    )


def identities(names: list[str]) -> set[tuple[int, int]]:
    found = set()
    for each in names:
        with suppress(OSError):
            stat = os.stat(namespace.NETNS_DIR / each)
            found.add((stat.st_dev, stat.st_ino))
    return found


def inhabitants(spaces: set[tuple[int, int]]) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                stat = os.stat(f"/proc/{entry}/ns/net")
                if (stat.st_dev, stat.st_ino) in spaces:
                    found.append(entry)
    return found


def assert_nothing_left(name: str, spaces: set[tuple[int, int]]) -> None:
    assert census.list_names(name) == []
    assert f"/np-{name}-" not in Path("/proc/self/mountinfo").read_text()
    assert inhabitants(spaces) == []
    assert not (cluster.labs_dir() / name).exists()
    assert not (cluster.labs_dir() / f".{name}.lock").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("family", DUAL, ids=lambda family: family.label)
def test_pods_reach_each_other(name: str, bring_up: BringUp, family: Family, protocol: str) -> None:
    lab = bring_up(spec(name, hosts=("database",)), with_proxy=False)
    source = lab.member("1-1")
    for target in ("1-2", "2-1", "database", "client"):
        member = lab.member(target)
        seen = traffic.probe(source.name, member.address(family), 9376, count=20, protocol=protocol)
        if target == "client":  # a client serves nobody
            assert len(seen.failures) == 20
            continue
        assert seen.answered == {target: 20}, seen.failures[:3]
        assert {each.client for each in seen.connections} == {source.address(family)}
        assert {each.address for each in seen.connections} == {member.address(family)}


def test_a_pod_passes_its_node(name: str, bring_up: BringUp) -> None:
    """Also to its neighbour: the node's time-to-live is one less."""
    lab = bring_up(spec(name, families=(Family.IPV4,)), with_proxy=False)
    script = (
        "import socket;s=socket.socket(2,2);s.setsockopt(0,2,1);"
        f"s.connect(('{lab.member('1-2').address(Family.IPV4)}',9376));s.settimeout(5);"
        "s.setsockopt(0,11,1);s.send(b'x')\ntry: s.recv(1)\nexcept OSError as e: print(e.errno)"
    )
    done = run_inside(lab.member("1-1"), sys.executable, "-c", script)
    assert done.stdout.strip() == "113"  # EHOSTUNREACH: time to live exceeded on the node


def run_inside(space: Namespace, *command: str) -> subprocess.CompletedProcess[str]:
    return namespace.run_inside(
        space.name,
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=patience(30)),
    )


def test_what_has_no_rules_is_refused_at_once(name: str, bring_up: BringUp) -> None:
    lab = bring_up(spec(name), with_proxy=False)
    for source in ("node-1", "1-1"):
        for address, error in (("10.96.0.10", "EHOSTUNREACH"), ("fd00:96::10", "ENETUNREACH")):
            seen = traffic.probe(lab.member(source).name, address, 80, count=5)
            assert {each.error for each in seen.failures} == {error}
            assert max(each.took_ms for each in seen.failures) < 900  # 1 s: TCP's second try


def test_many_connections_take_little_time(name: str, bring_up: BringUp) -> None:
    lab = bring_up(spec(name), with_proxy=False)
    started = time.monotonic()
    target = lab.member("2-1").address(Family.IPV4)
    assert len(traffic.probe(lab.member("1-1").name, target, 80, count=300).answered) == 1
    assert time.monotonic() - started < 10  # 0.1 s on an idle machine


def test_a_stream_goes_on_until_it_is_stopped(name: str, bring_up: BringUp) -> None:
    lab = bring_up(spec(name), with_proxy=False)
    seen: list[traffic.Connection] = []
    target = lab.member("2-1").address(Family.IPV6)
    stream = traffic.Stream(lab.member("1-1").name, target, 80, rate=200, watch=seen.append)
    deadline = time.monotonic() + patience(10)
    while len(seen) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    result = stream.stop()
    assert len(result.connections) >= 20
    assert not result.failures
    assert len(stream.stop().connections) == len(result.connections)


def test_up_and_down_leave_nothing(name: str, bring_up: BringUp) -> None:
    before = os.readlink("/proc/self/ns/net"), os.listdir("/sys/class/net")
    lab = bring_up(spec(name), with_proxy=False)
    spaces = identities(census.list_names(name))
    assert len(spaces) == 8
    assert (os.readlink("/proc/self/ns/net"), os.listdir("/sys/class/net")) == before
    lab.down()
    lab.down()
    assert_nothing_left(name, spaces)


def test_up_twice_is_refused_and_harmless(name: str, bring_up: BringUp) -> None:
    lab = bring_up(spec(name), with_proxy=False)
    with pytest.raises(ConfigError) as caught:
        bring_up(spec(name), with_proxy=False)
    assert f"lab down --name {name}" in (caught.value.hint or "")
    target = lab.member("2-1").address(Family.IPV4)
    assert traffic.wait_answer(lab.member("1-1").name, target, 80)


def test_two_labs_with_equal_addresses(name: str, bring_up: BringUp) -> None:
    other = f"{name}-b"
    try:
        left = bring_up(spec(name, pods=(PodSpec("a", 1), PodSpec("left", 2))), with_proxy=False)
        right = bring_up(spec(other, pods=(PodSpec("a", 1), PodSpec("right", 2))), with_proxy=False)
        for lab, pod in ((left, "left"), (right, "right")):
            seen = traffic.probe(lab.member("a").name, "10.244.2.2", 80, count=3)
            assert seen.answered == {pod: 3}
        left.down()  # whose name is how the other one's begins
        seen = traffic.probe(right.member("a").name, "10.244.2.2", 80, count=3)
        assert seen.answered == {"right": 3}
    finally:
        cluster.down(other)


@pytest.mark.parametrize("flags", [(), ("--no-proxy",)], ids=["proxy", "no-proxy"])
@pytest.mark.parametrize("count", [1, 2, 4, 6, 8])
def test_a_killed_up_is_cleaned_by_down(name: str, count: int, flags: tuple[str, ...]) -> None:
    """Killed when so many of its 8 namespaces exist, whatever they contain by then."""
    running = subprocess.Popen(
        [*NETPROXY, "lab", "up", "--name", name, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + patience(30)
    while len(census.list_names(name)) < count and time.monotonic() < deadline:
        time.sleep(0.0005)
    running.kill()
    running.wait()
    spaces = identities(census.list_names(name))
    assert spaces
    cluster.down(name)
    assert_nothing_left(name, spaces)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_cleans_up_itself(name: str, number: signal.Signals) -> None:
    running = subprocess.Popen([*NETPROXY, "lab", "up", "--no-proxy", "--name", name])
    deadline = time.monotonic() + patience(30)
    while len(census.list_names(name)) < 2 and time.monotonic() < deadline:
        time.sleep(0.0005)
    running.send_signal(number)
    assert running.wait(patience(30)) == 128 + number
    assert_nothing_left(name, set())


def test_leftovers_of_every_kind_are_removed(name: str, bring_up: BringUp) -> None:
    """A name without a mount, and a namespace mounted twice."""
    bring_up(spec(name), with_proxy=False)
    spaces = identities(census.list_names(name))
    (namespace.NETNS_DIR / f"np-{name}-pod-file").touch(mode=0)
    half_built = {each.name: each for each in status.read_members(name)}["file"]
    assert half_built.addresses == ()
    target = namespace.NETNS_DIR / f"np-{name}-client"
    subprocess.run(["mount", "--bind", str(target), str(target)], check=True)
    assert len(cluster.down(name)) == 9
    assert_nothing_left(name, spaces)


def test_strangers_survive_down(name: str, bring_up: BringUp) -> None:
    """A process in no namespace of the lab, even one called after it, is not touched."""
    bring_up(spec(name), with_proxy=False)
    stranger = subprocess.Popen(["sleep", "30"], env={"NAME": f"np-{name}-pod-1-1"})
    try:
        cluster.down(name)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_stubborn_process_is_killed(name: str, bring_up: BringUp) -> None:
    lab = bring_up(spec(name), with_proxy=False)
    script = (
        "import signal,time;signal.signal(15,signal.SIG_IGN);print(1,flush=True);time.sleep(60)"
    )
    stubborn = namespace.run_inside(
        lab.member("1-1").name,
        lambda: subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE),
    )
    with stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        lab.down()
        assert stubborn.wait(patience(5)) == -signal.SIGKILL


def test_a_half_failed_up_cleans_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "netproxy.lab.process.echo_command",
        lambda *_: [sys.executable, "-c", "raise SystemExit('no such luck')"],
    )
    with pytest.raises(ProcessError) as caught:
        cluster.up(spec(name), with_proxy=False)
    assert "no such luck" in (caught.value.hint or "")
    assert_nothing_left(name, set())


def test_a_refusal_of_the_kernel_names_the_object(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "UPLINK", "an-interface-name-that-is-too-long")
    with pytest.raises(NetproxyError) as caught:
        cluster.up(spec(name), with_proxy=False)
    assert f"np-{name}-node-1" in caught.value.message
    assert_nothing_left(name, set())


def test_commands(name: str) -> None:
    """up, exec, status and down, as a person types them."""
    up = run_netproxy("lab", "up", "--no-proxy", "--name", name, "--pods", "1")
    assert up.returncode == 0, up.stderr
    assert "10.244.2.2" in up.stdout
    assert "\x1b" not in up.stdout

    again = run_netproxy("lab", "up", "--no-proxy", "--name", name)
    assert again.returncode == EXIT_BAD_INPUT
    assert "exists already" in again.stderr

    done = run_netproxy("lab", "exec", "1-1", "--lab", name, "--", "sh", "-c", "exit 7")
    assert done.returncode == 7
    done = run_netproxy("lab", "exec", "--lab", name, "node-1", "cat", "/proc/net/fib_trie")
    assert "192.168.77.1" in done.stdout
    assert run_netproxy("lab", "exec", "--lab", name, "nobody", "id").returncode == EXIT_BAD_INPUT

    rows = json.loads(run_netproxy("lab", "status", "--name", name, "-o", "json").stdout)
    by_name = {row["name"]: row for row in rows}
    assert by_name["1-1"]["addresses"] == ["10.244.1.2", "fd00:244:1::2"]
    assert "echo.py" in by_name["1-1"]["processes"][0]
    assert by_name["node-1"]["tables"] == []
    text = run_netproxy("lab", "status", "--name", name).stdout
    assert "node-1" in text
    assert "none" in text

    spaces = identities(census.list_names(name))
    assert run_netproxy("lab", "down", "--name", name).returncode == 0
    assert_nothing_left(name, spaces)
    assert run_netproxy("lab", "down", "--name", name).returncode == 0
    assert run_netproxy("lab", "status", "--name", name).returncode == EXIT_BAD_INPUT
    assert run_netproxy("lab", "up", "--name", "not/a/label").returncode == EXIT_BAD_INPUT


def test_nodes_run_the_proxy(name: str, bring_up: BringUp) -> None:
    """A Service written into the lab's directory leads to its pod, from everywhere."""
    lab = bring_up(spec(name), with_proxy=True)
    lab.write_manifest("web.yaml", WEB)
    for source in ("1-1", "node-1", "node-2"):
        space = lab.member(source).name
        assert traffic.wait_answer(space, "10.96.0.30", 80), lab.log_path("node-1").read_text()
        seen = traffic.probe(space, "10.96.0.30", 80, count=5)
        assert seen.answered == {"2-1": 5}


WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.30
  clusterIPs: [10.96.0.30]
  ports: [{port: 80, targetPort: 9376}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  namespace: default
  labels: {kubernetes.io/service-name: web}
addressType: IPv4
ports: [{port: 9376, protocol: TCP}]
endpoints: [{addresses: [10.244.2.2], nodeName: node-2}]
"""


def test_a_lab_in_a_user_namespace(name: str) -> None:
    """No rights in the initial user namespace are needed, given a /run of one's own."""
    script = """
import sys
from netproxy.lab import cluster, rootless, traffic
from netproxy.lab.topology import LabSpec, PodSpec
rootless.ensure_namespaces([])
pods = (PodSpec("a", 1), PodSpec("b", 2))
lab = cluster.up(LabSpec(name=sys.argv[1], pods=pods), with_proxy=False)
for address in lab.member("b").addresses:
    seen = traffic.probe(lab.member("a").name, address, 80, count=5)
    assert seen.answered == {"b": 5}, seen
lab.down()
print("fine", file=sys.stderr)
"""
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            "--mount",
            sys.executable,
            "-c",
            script,
            name,
        ],
        env={**os.environ, "NETPROXY_ROOTLESS": "1"},
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert done.stderr.endswith("fine\n"), done.stderr
    assert census.list_names(name) == []
