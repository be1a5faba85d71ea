"""What the unit and the DaemonSet allow is enough for a real daemon on a real kernel."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netproxy.core.config import ProxyMode
from netproxy.deploy.manifest import plan_manifest
from netproxy.deploy.unit import plan_unit
from netproxy.deploy.wishes import ApiServer, Wishes
from netproxy.render.deploy import render_manifest, render_unit
from tests.netns.confined import Confinement
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.test_run import manifest
from tests.unit.deploy.judges import read_documents
from tests.unit.deploy.unit_file import read_unit

MODES = {
    "nftables": (),
    "iptables-nft": ("--proxy-mode=iptables", "--iptables-variant=nft"),
    "iptables-legacy": ("--proxy-mode=iptables", "--iptables-variant=legacy"),
}
every_mode = pytest.mark.parametrize("mode", MODES)


class Confined(Daemon):
    """A daemon that was started in the way that is to be tried."""

    def __init__(self, space: NetworkNamespace, place: Path, line: list[str]) -> None:
        self._line = line
        super().__init__(space, services(place), place / "log")

    def command(self) -> list[str]:
        return self._line


@contextmanager
def running(space: NetworkNamespace, place: Path, line: list[str]) -> Iterator[Confined]:
    """The daemon, after it followed a change."""
    daemon = Confined(space, place, line)
    try:
        daemon.wait_for(lambda: any(e["event"] == "sync done" for e in daemon.events()), "sync")
        daemon.write("db.yaml", manifest("db", "10.96.0.2", "10.1.0.9"))
        daemon.wait_for(lambda: "10.96.0.2" in all_rules(space), "a change")
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def services(place: Path) -> Path:
    directory = place / "services"
    if not directory.exists():
        directory.mkdir()
        (directory / "web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1", "10.1.0.2"))
    return directory


def all_rules(space: NetworkNamespace) -> str:
    return space.run("nft", "list", "ruleset") + space.run("iptables-legacy-save")


def flags(place: Path, mode: str) -> tuple[str, ...]:
    watched = ("-f", str(services(place)))
    # What the runtime has given to the process already; a namespace has no table of its own.
    score = Path("/proc/self/oom_score_adj").read_text().strip()
    host = (f"--oom-score-adj={score}", "--conntrack-max-per-core=0")
    return (*watched, *host, "--node-ip=192.0.2.1", "--log-format=json", "-v=4", *MODES[mode])


def prepare(space: NetworkNamespace, line: list[str]) -> None:
    """What is run with full rights before."""
    done = space.call(
        lambda: subprocess.run([*line, "--init-only"], capture_output=True, text=True, check=False)
    )
    assert done.returncode == 0, done.stderr


def of_unit(text: str) -> tuple[Confinement, list[str]]:
    """What systemd would start, and how."""
    service = read_unit(text)["Service"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert "User" not in service
    confinement = Confinement(
        capabilities=[c.removeprefix("CAP_") for c in service["CapabilityBoundingSet"][0].split()],
        writable=service.get("ReadWritePaths", []),
        writes_settings=service["ProtectKernelTunables"] == ["no"],
        memory_is_writable_or_executable=service["MemoryDenyWriteExecute"] == ["yes"],
    )
    return confinement, shlex.split(service["ExecStart"][0])


def of_manifest(wishes: Wishes) -> Confinement:
    """What the container runtime would leave the main container with."""
    pod = read_documents(render_manifest(plan_manifest(wishes)))["DaemonSet"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["runAsUser"] == 0
    assert context["capabilities"]["drop"] == ["ALL"]
    mounted = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
    return Confinement(context["capabilities"]["add"], mounted)


def executable(place: Path) -> str:
    path = place / "netproxy"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m netproxy "$@"\n')
    path.chmod(0o755)
    return str(path)


@every_mode
def test_the_unit_starts(mode: str, netns: NetworkNamespace, tmp_path: Path) -> None:
    chosen = ProxyMode(mode.partition("-")[0])
    words = flags(tmp_path, mode)
    unit = plan_unit(executable(tmp_path), words, chosen)
    confinement, line = of_unit(render_unit(unit))
    prepare(netns, line)
    with running(netns, tmp_path, confinement.wrap(*line)) as daemon:
        assert daemon.stop() == 0
    assert not [e for e in daemon.events() if e["level"] in ("warning", "error")]


@every_mode
def test_the_container_starts(mode: str, netns: NetworkNamespace, tmp_path: Path) -> None:
    Path("/run/xtables.lock").touch(0o600)  # FileOrCreate: kubelet does it
    chosen = ProxyMode(mode.partition("-")[0])
    confinement = of_manifest(Wishes("image", ApiServer("192.0.2.1", 6443), mode=chosen))
    line = [sys.executable, "-m", "netproxy", "run", *flags(tmp_path, mode)]
    prepare(netns, line)
    with running(netns, tmp_path, confinement.wrap(*line)) as daemon:
        assert daemon.stop() == 0
    assert not [e for e in daemon.events() if e["level"] in ("warning", "error")]


def test_leftovers_of_legacy_iptables_go_where_that_was_asked_for(
    netns: NetworkNamespace, tmp_path: Path
) -> None:
    netns.run("iptables-legacy", "-t", "nat", "-N", "KUBE-SERVICES")
    Path("/run/xtables.lock").touch(0o600)
    wishes = Wishes("image", ApiServer("192.0.2.1", 6443), legacy_iptables=True)
    line = of_manifest(wishes).wrap(
        sys.executable, "-m", "netproxy", "run", *flags(tmp_path, "nftables")
    )
    with running(netns, tmp_path, line) as daemon:
        daemon.wait_for(lambda: "KUBE" not in netns.run("iptables-legacy-save"), "leftovers")


@pytest.mark.parametrize(
    ("confinement", "attempt"),
    [
        (Confinement(["NET_ADMIN"]), "touch /etc/netproxy-was-here"),
        (Confinement(["NET_ADMIN"]), "echo 1 > /proc/sys/net/ipv4/ip_forward"),
        (Confinement(["NET_ADMIN"], ["/run"]), "chroot / true"),
        (Confinement(["NET_RAW"]), "nft add table ip a"),
        (Confinement(["NET_ADMIN"]), "iptables-legacy -t nat -N A"),
    ],
)
def test_what_was_taken_away_is_gone(
    confinement: Confinement, attempt: str, netns: NetworkNamespace
) -> None:
    done = netns.call(
        lambda: subprocess.run(
            confinement.wrap("sh", "-c", attempt), capture_output=True, text=True, check=False
        )
    )
    assert done.returncode != 0
    words = ("Read-only file system", "Operation not permitted", "Permission denied")
    assert any(word in done.stderr for word in words), done.stderr
