"""The daemon as a process, on a real kernel: follows files, repairs drift, outlives its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.patience import patience

SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{endpoints}]
ports: [{{port: 8080}}]
"""


def manifest(name: str, ip: str, *endpoints: str) -> str:
    listed = ", ".join(f"{{addresses: [{address}]}}" for address in endpoints)
    return SERVICE.format(name=name, ip=ip, endpoints=listed)


@pytest.fixture
def daemon(netns: NetworkNamespace, tmp_path: Path) -> Iterator[Daemon]:
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1", "10.1.0.2"))
    one = Daemon(netns, directory, tmp_path / "log")
    try:
        # The families are programmed one after the other; this is said when both are done.
        one.wait_for(lambda: any(e["event"] == "sync done" for e in one.events()), "first sync")
        assert "10.96.0.1 . tcp . 80 : goto cluster-2" in one.rules()
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def test_follows_files(daemon: Daemon) -> None:
    daemon.write("db.yaml", manifest("db", "10.96.0.2", "10.1.0.9"))
    daemon.wait_for(lambda: "10.96.0.2 . tcp . 80 : goto cluster-1" in daemon.rules(), "new file")
    daemon.write("web.yaml", manifest("web", "10.96.0.1", "10.1.0.2"))
    daemon.wait_for(lambda: "10.96.0.1 . tcp . 80 : goto cluster-1" in daemon.rules(), "change")
    (daemon.directory / "db.yaml").unlink()
    daemon.wait_for(lambda: "10.96.0.2" not in daemon.rules(), "file gone")
    daemon.wait_for(lambda: "cluster-2" not in daemon.rules(), "unused chain tidied away")


def test_a_broken_file_takes_nothing_down(daemon: Daemon) -> None:
    before = daemon.rules()
    daemon.write("web.yaml", manifest("web", "10.96.0.1", "10.1.0.3").replace("spec:", "spec: ["))
    daemon.wait_for(lambda: any("path" in e for e in daemon.events()), "diagnostic")
    said = next(e for e in daemon.events() if "path" in e)
    assert str(said["path"]).endswith("web.yaml")
    assert said["line"] == 6, "where the list that was opened on line 5 should have gone on"
    assert daemon.rules() == before
    daemon.write("web.yaml", manifest("web", "10.96.0.1", "10.1.0.3"))
    daemon.wait_for(lambda: "10.1.0.3 . 8080" in daemon.rules(), "mended")


@pytest.mark.parametrize(
    "change", ["flush ruleset", "delete table ip netproxy", "flush map ip netproxy service-ips"]
)
def test_repairs_what_others_change(daemon: Daemon, change: str) -> None:
    before = daemon.rules()
    daemon.space.run("nft", change)
    heard = "another program changed our tables, repaired"
    daemon.wait_for(lambda: any(e["event"] == heard for e in daemon.events()), "repair")
    # The order of a set's elements is that of the kernel's hashes.
    assert sorted(daemon.rules().split()) == sorted(before.split())


def test_stops_on_sigterm_and_leaves_the_rules(daemon: Daemon) -> None:
    before = daemon.rules()
    assert daemon.stop() == 0
    assert daemon.rules() == before


def test_a_killed_daemon_is_succeeded_without_a_write(daemon: Daemon) -> None:
    daemon.stop(signal.SIGKILL)
    before = daemon.rules()
    generation = _generation(daemon)
    daemon.start()
    daemon.wait_for(lambda: any(e["event"] == "sync done" for e in daemon.events()), "first sync")
    assert daemon.rules() == before
    assert _generation(daemon) == generation, "it committed something"


def test_a_successor_removes_what_went_meanwhile(daemon: Daemon) -> None:
    daemon.stop(signal.SIGKILL)
    daemon.write("web.yaml", manifest("web", "10.96.0.7", "10.1.0.1"))
    daemon.start()
    daemon.wait_for(lambda: "10.96.0.7 . tcp . 80" in daemon.rules(), "successor's sync")
    assert "10.96.0.1" not in daemon.rules()


def test_a_successor_keeps_what_a_broken_file_once_said(daemon: Daemon) -> None:
    daemon.stop(signal.SIGKILL)
    daemon.write("web.yaml", "kind: [")
    daemon.write("db.yaml", manifest("db", "10.96.0.2", "10.1.0.9"))
    daemon.start()
    daemon.wait_for(lambda: "10.96.0.2 . tcp . 80" in daemon.rules(), "successor's sync")
    assert "10.96.0.1 . tcp . 80 : goto cluster-2" in daemon.rules()
    daemon.write("web.yaml", "")
    daemon.wait_for(
        lambda: "10.96.0.1" not in daemon.rules(), "now it says nothing, and that counts"
    )


def test_an_idle_daemon_uses_no_cpu(daemon: Daemon) -> None:
    # The unused-chain tidying, a second after the last sync, is still work.
    time.sleep(2.5)
    before = _cpu_ticks(daemon.process.pid)
    time.sleep(2)
    assert _cpu_ticks(daemon.process.pid) - before <= 1


def test_without_rights_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1"))
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command += [sys.executable, "-m", "netproxy", "sync", "-f", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(60), check=False
    )
    assert done.returncode == 4
    first, second = done.stderr.splitlines()
    assert first.startswith("netproxy: error: programming nf_tables needs CAP_NET_ADMIN")
    assert second.startswith("hint: ")


def _generation(daemon: Daemon) -> str:
    """Grows by one with every commit in the namespace."""
    from netproxy.kernel.nfnetlink import NfnetlinkSocket

    def read() -> str:
        with NfnetlinkSocket() as netlink:
            return str(netlink.generation())

    return daemon.space.call(read)


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
