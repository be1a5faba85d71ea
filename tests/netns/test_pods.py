"""Pods on a node: networks, processes, status; with a real agent and real packets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from netproxy.api.objects import Object
from netproxy.api.resources import CONFIG_MAPS, NODES, PODS
from netproxy.netns import namespace
from tests.netns.agent import AgentNode, is_ready, phase, play, run, status_of
from tests.netns.namespace import NetworkNamespace

SERVER = (sys.executable, "-I", "-S", "-m", "http.server", "--bind", "::", "8000")
FOREVER = ("sleep", "infinity")


def url(address: str) -> str:
    return f"http://[{address}]:8000/" if ":" in address else f"http://{address}:8000/"


async def fetch(address: str, space: str = "") -> str:
    """The status of a page, asked for by the node or from a Pod's network."""
    curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]
    enter = ["nsenter", f"--net={namespace.NETNS_DIR / space}"] if space else []
    return await run(*enter, *curl, "--max-time", "5", url(address))


def test_pods_have_addresses_and_reach_each_other(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        probe = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
        for name in ("a", "b"):
            await node.create(name, *SERVER, c_readinessProbe=probe)
        pods = [await node.ready(name) for name in ("a", "b")]
        addresses = [[each["ip"] for each in pod["status"]["podIPs"]] for pod in pods]
        assert sorted(addresses) == [
            ["10.244.7.1", "fd00:244:7::1"],
            ["10.244.7.2", "fd00:244:7::2"],
        ]
        for pod in pods:
            status = pod["status"]
            assert status["phase"] == "Running"
            assert status["hostIP"] == "192.0.2.1"
            assert [each["ip"] for each in status["hostIPs"]] == ["192.0.2.1", "2001:db8::1"]
            for address in (each["ip"] for each in status["podIPs"]):
                assert await fetch(address) == "200"
                for other in ("a", "b"):
                    assert await fetch(address, node.prefix + other) == "200"

    play(netns, tmp_path, story)


def test_pods_wait_for_the_rules_of_services(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("old", *FOREVER)
        await node.ready("old")
        await node.end()
        node.rules.clear()
        node.begin()
        await node.create("new", *FOREVER)
        await node.create("short", *FOREVER)
        await node.delete("short")
        await node.gone("short")
        # What ran goes on, and is looked after; nothing new has begun meanwhile.
        await node.delete("old")
        await node.gone("old")
        assert node.prefix + "new" not in namespace.list_names()
        node.rules.set()
        await node.ready("new")

    play(netns, tmp_path, story)


def test_an_unready_pod_becomes_ready_and_unready_again(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        flag = tmp_path / "flag"
        probe = {
            "exec": {"command": ["test", "-e", str(flag)]},
            "periodSeconds": 1,
            "failureThreshold": 1,
        }
        await node.create("a", *FOREVER, c_readinessProbe=probe)
        pod = await node.when("a", phase("Running"))
        assert not is_ready(pod)
        flag.touch()
        pod = await node.ready("a")
        assert status_of(pod)["ready"]
        flag.unlink()
        pod = await node.when("a", lambda pod: not is_ready(pod))
        assert status_of(pod)["restartCount"] == 0
        assert any("Readiness probe failed" in each for each in await node.events("Unhealthy"))

    play(netns, tmp_path, story)


def test_http_and_liveness(netns: NetworkNamespace, tmp_path: Path) -> None:
    """A server that goes deaf is started again; the answer of the first is what counts."""

    async def story(node: AgentNode) -> None:
        page = tmp_path / "page"
        page.write_text("fine")
        probe = {
            "httpGet": {"path": "/page", "port": "web"},
            "periodSeconds": 1,
            "failureThreshold": 1,
        }
        await node.create(
            "a",
            *SERVER,
            c_workingDir=str(tmp_path),
            c_ports=[{"name": "web", "containerPort": 8000}],
            c_startupProbe={**probe, "failureThreshold": 30},
            c_livenessProbe=probe,
        )
        await node.ready("a")
        page.unlink()
        pod = await node.when("a", lambda pod: status_of(pod)["restartCount"] == 1)
        killed = await node.events("Killing")
        assert any("failed liveness probe" in each for each in killed), killed
        page.write_text("fine")
        pod = await node.ready("a")
        assert status_of(pod)["lastState"]["terminated"]["exitCode"] in (0, 143)

    play(netns, tmp_path, story)


def test_what_ends_is_started_again_and_waits_longer(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("a", "sh", "-c", "exit 3")

        def waits(pod: Object) -> bool:
            state = status_of(pod)["state"].get("waiting") or {}
            return bool(state.get("reason") == "CrashLoopBackOff")

        pod = await node.when("a", lambda pod: bool(pod.get("status", {}).get("podIP")))
        pod = await node.when("a", waits)
        status = status_of(pod)
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 3
        assert "back-off 10s" in status["state"]["waiting"]["message"]
        assert pod["status"]["phase"] == "Running"

    play(netns, tmp_path, story)


def test_pods_that_end_for_good(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("good", "true", restartPolicy="Never")
        await node.create("bad", "false", restartPolicy="Never")
        await node.create("odd", "no-such-program", restartPolicy="Never")
        good = await node.when("good", phase("Succeeded"))
        assert status_of(good)["state"]["terminated"]["reason"] == "Completed"
        bad = await node.when("bad", phase("Failed"))
        assert status_of(bad)["state"]["terminated"]["exitCode"] == 1
        odd = await node.when("odd", phase("Failed"))
        ended = status_of(odd)["state"]["terminated"]
        assert ended["reason"] == "StartError"
        assert "no-such-program" in ended["message"]

        async def no_networks() -> bool:
            return node.spaces() == []

        await node.until(no_networks)

    play(netns, tmp_path, story)


def test_init_containers_come_first_one_after_the_other(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        log = tmp_path / "order"
        add = f"echo $0 >>{log}"

        def container(name: str) -> Object:
            return {"name": name, "image": "none", "command": ["sh", "-c", add, name]}

        main = {"name": "c", "image": "none", "command": ["sh", "-c", f"{add}; sleep 100", "c"]}
        await node.create(
            "a", initContainers=[container("one"), container("two")], containers=[main]
        )
        pod = await node.ready("a")

        async def written() -> bool:
            return log.read_text().split() == ["one", "two", "c"]

        await node.until(written)
        told = pod["status"]["initContainerStatuses"]
        assert [each["state"]["terminated"]["exitCode"] for each in told] == [0, 0]

    play(netns, tmp_path, story)


def test_what_a_container_sees(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"key": "from a map"}}
        await node.client.create(
            CONFIG_MAPS, {**config, "metadata": {"name": "m", "namespace": "default"}}
        )
        fields = {"IP": "status.podIP", "NAME": "metadata.name", "LABEL": "metadata.labels['app']"}
        env: list[Any] = [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in fields.items()
        ]
        env += [
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "key"}}},
            {"name": "BOTH", "value": "$(NAME)-$(IP)"},
        ]
        script = (
            'echo "$KEY"; echo "$BOTH"; echo "$LABEL"; hostname; cat /etc/resolv.conf /etc/hosts; '
            "id -u; pwd; ls /proc | grep -c '^[0-9]'; sleep 100"
        )
        await node.create(
            "a",
            "sh",
            "-c",
            script,
            hostname="who",
            c_env=env,
            c_workingDir="/usr",
            c_securityContext={"runAsUser": 1234},
        )
        pod = await node.ready("a")

        async def said() -> list[str] | None:
            lines = node.log(pod)
            return lines if "/usr" in lines and lines[-1].isdigit() else None

        lines = await node.until(said)
        assert lines[:4] == ["from a map", "a-10.244.7.1", "a", "who"]
        assert "nameserver 10.96.0.10" in lines
        assert "search default.svc.cluster.local svc.cluster.local cluster.local" in lines
        assert "options ndots:5" in lines
        assert "10.244.7.1 who" in lines
        assert lines[-3:-1] == ["1234", "/usr"]
        assert int(lines[-1]) < 10  # its own processes only

    play(netns, tmp_path, story)


def test_a_directory_can_be_the_root(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        root = tmp_path / "root"
        for name in ("bin", "etc", "proc", "dev", "lib", "lib64", "usr"):
            (root / name).mkdir(parents=True)
        (root / "etc" / "resolv.conf").touch()
        (root / "mark").write_text("inside")
        for name in ("lib", "lib64", "usr", "bin"):
            source = Path("/", name).resolve()
            await run("mount", "--bind", str(source), str(root / name))
        try:
            await node.create("a", "cat", "/mark", restartPolicy="Never", c_image=str(root))
            pod = await node.when("a", phase("Succeeded"))
            assert node.log(pod) == ["inside"]
        finally:
            for name in ("lib", "lib64", "usr", "bin"):
                await run("umount", str(root / name))

    play(netns, tmp_path, story)


def test_pods_outlive_the_agent_and_are_found_again(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        probe = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
        await node.create("a", *SERVER, c_readinessProbe=probe)
        before = await node.ready("a")
        await node.end()
        assert await fetch("10.244.7.1") == "200"
        node.begin()
        await node.create("b", *FOREVER)
        other = await node.ready("b")
        assert other["status"]["podIP"] == "10.244.7.2"
        after = await node.pod("a")
        assert after is not None
        # It was never told to be anything but ready, and nothing was started.
        assert after["status"] == before["status"]
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        assert await fetch("10.244.7.1") == "200"

    play(netns, tmp_path, story)


def test_what_happened_while_no_agent_was_there(netns: NetworkNamespace, tmp_path: Path) -> None:
    """One Pod was deleted by force, one died, one was to go."""

    async def story(node: AgentNode) -> None:
        for name in ("forced", "dead", "leaving"):
            await node.create(name, *FOREVER)
        dead = [await node.ready(name) for name in ("forced", "leaving", "dead")][-1]
        await node.end()
        await node.delete("forced", grace_s=0)
        await node.delete("leaving")
        inhabitants = namespace.list_inhabitants([node.prefix + "dead"])
        for pid in inhabitants[node.prefix + "dead"]:
            with contextlib.suppress(ProcessLookupError):  # with the first go the others
                os.kill(pid, signal.SIGKILL)
        node.begin()
        await node.gone("leaving")
        pod = await node.when("dead", lambda pod: status_of(pod)["restartCount"] == 1)
        pod = await node.ready("dead")
        assert pod["status"]["podIP"] == dead["status"]["podIP"]

        async def only_one() -> bool:
            return node.spaces() == [node.prefix + "dead"]

        await node.until(only_one)

    play(netns, tmp_path, story)


def test_a_network_that_somebody_took_away_is_made_again(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("a", *FOREVER)
        first = await node.ready("a")
        await node.end()
        await asyncio.to_thread(namespace.remove, node.spaces())
        node.begin()
        pod = await node.when(
            "a", lambda pod: is_ready(pod) and status_of(pod)["restartCount"] == 1
        )
        assert pod["status"]["podIP"]
        assert pod["metadata"]["uid"] == first["metadata"]["uid"]
        assert node.spaces() == [node.prefix + "a"]

    play(netns, tmp_path, story)


def test_pods_go_with_grace(netns: NetworkNamespace, tmp_path: Path) -> None:
    """PreStop first, then SIGTERM, then there is time to say good-bye; then nothing is left."""

    async def story(node: AgentNode) -> None:
        log = tmp_path / "log"
        script = f"trap 'echo term >>{log}; sleep 0.3; echo bye >>{log}; exit 0' TERM; "
        script += "while :; do sleep 0.05; done"
        hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo pre >>{log}; sleep 0.2"]}}}
        await node.create(
            "a", "sh", "-c", script, c_lifecycle=hook, terminationGracePeriodSeconds=20
        )
        await node.ready("a")
        await node.delete("a")
        await node.gone("a")
        assert log.read_text().split() == ["pre", "term", "bye"]
        assert node.spaces() == []
        assert list((node.settings.directory / "pods").iterdir()) == []

    play(netns, tmp_path, story)


def test_who_does_not_listen_is_killed_in_time(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("a", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
        await node.ready("a")
        await node.delete("a")
        await node.gone("a")
        assert node.spaces() == []

    play(netns, tmp_path, story)


def test_a_pod_of_the_hosts_network(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("a", *SERVER, hostNetwork=True)
        pod = await node.ready("a")
        assert pod["status"]["podIP"] == "192.0.2.1"
        assert node.spaces() == []

        async def answers() -> bool:
            try:
                return await fetch("192.0.2.1") == "200"
            except AssertionError:
                return False

        await node.until(answers)
        await node.delete("a")
        await node.gone("a")

    play(netns, tmp_path, story)


def test_what_cannot_be_had_is_said(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        await node.create("image-only")
        mounts = [{"name": "v", "mountPath": "/v"}]
        await node.create(
            "mounted", *FOREVER, c_volumeMounts=mounts, volumes=[{"name": "v", "emptyDir": {}}]
        )

        def told(words: str) -> Any:
            def is_told(pod: Object) -> bool:
                if "containerStatuses" not in (pod.get("status") or {}):
                    return False
                return words in str(status_of(pod)["state"].get("waiting"))

            return is_told

        await node.when("image-only", told("no command"))
        await node.when("mounted", told("volumes are not mounted here"))
        ignored = await node.events("Ignored")
        assert any("No images here" in each for each in ignored)

    play(netns, tmp_path, story)


def test_pods_wait_for_the_nodes_prefix(netns: NetworkNamespace, tmp_path: Path) -> None:
    async def story(node: AgentNode) -> None:
        known = await node.client.get(NODES, "n1")
        await node.client.delete(NODES, "n1")
        await asyncio.sleep(0.05)
        await node.create("a", *FOREVER)
        pod = await node.when("a", lambda pod: bool((pod.get("status") or {}).get("startTime")))
        assert "podIP" not in pod["status"]
        metadata = {"name": "n1"}
        await node.client.create(NODES, {**known, "metadata": metadata})
        pod = await node.ready("a")
        assert pod["status"]["podIP"] == "10.244.7.1"

    play(netns, tmp_path, story)


def test_many_pods_at_once_have_addresses_of_their_own(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    async def story(node: AgentNode) -> None:
        names = [f"p{number}" for number in range(12)]
        for name in names:
            await node.create(name, *FOREVER)
        pods = [await node.ready(name) for name in names]
        assert len({pod["status"]["podIP"] for pod in pods}) == len(names)
        for name in names:
            await node.client.delete(PODS, name, "default")
        for name in names:
            await node.gone(name)
        links = await run("ip", "-br", "link")
        assert "pod" not in links, links

    play(netns, tmp_path, story)
