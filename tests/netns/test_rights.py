"""The smallest set of rights for each mode, tried with real daemons: enough, and not too much.

Everything here runs as somebody who is not root and sees a read-only file system. Root prepares the
host, as the unit and the manifest have it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.netns.confined import Confinement
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.test_kill import BEFORE, STEADY, TALKS, objects
from tests.netns.test_run import manifest
from tests.netns.traffic import Traffic, World
from tests.patience import patience


def _somebody() -> int:
    """An ordinary user. In a user namespace there is nobody else: its root is one on this host."""
    first, _, count = Path("/proc/self/uid_map").read_text().split()[:3]
    return 65534 if int(first) + int(count) > 65534 else 0


SOMEBODY = _somebody()
GIVEN = ("--conntrack-max-per-core=0", "--oom-score-adj=0")
"""See ``test_deploy.py``."""
MODES = {
    "nftables": (("NET_ADMIN",), "nft flush ruleset"),
    "iptables-nft": (("NET_ADMIN",), "iptables-nft -t nat -F KUBE-SERVICES"),
    "iptables-legacy": (
        ("NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH"),
        "iptables-legacy -t nat -F KUBE-SERVICES",
    ),
}
EXPECTED = {"cannot look for former rules", "another program changed our tables, repaired"}


@pytest.fixture
def place() -> Iterator[Path]:
    """Somewhere that everybody can read."""
    made = Path(tempfile.mkdtemp(prefix="netproxy-rights-"))
    made.chmod(0o755)
    (made / "services").mkdir()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        yield one


class Modest(Daemon):
    """A daemon with a few rights, in a mode."""

    def __init__(self, space: NetworkNamespace, place: Path, mode: str, rights: Sequence[str]):
        self._rights = rights
        name, _, variant = mode.partition("-")
        self.flags = ("--proxy-mode", name, "--iptables-variant", variant or "auto", *GIVEN)
        super().__init__(space, place / "services", place / "log")

    def start(self) -> None:
        line = super().command()
        self.space.run(*line, "--init-only")
        super().start()

    def command(self) -> list[str]:
        return Confinement(self._rights, user=SOMEBODY).wrap(*super().command())

    def has_said(self, event: str, **fields: object) -> bool:
        return any(
            said["event"] == event and all(said.get(k) == v for k, v in fields.items())
            for said in self.events()
        )

    def troubles(self) -> set[object]:
        return {said["event"] for said in self.events() if said["level"] in ("warning", "error")}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_enough(mode: str, world: World, place: Path) -> None:
    rights, damage = MODES[mode]
    Path("/run/xtables.lock").touch(0o600)
    (place / "services/all.yaml").write_text(BEFORE)
    daemon = Modest(world.node, place, mode, rights)
    try:
        daemon.wait_for(lambda: daemon.has_said("in charge"), "rules, and nobody else's")
        _forgets_connections(daemon, world)
        world.node.run(*damage.split())
        repaired = "another program changed our tables, repaired"
        daemon.wait_for(lambda: daemon.has_said(repaired), "drift")
        with Traffic(world.client, (STEADY, 80)) as traffic:
            traffic.wait_for(2)
            assert daemon.troubles() <= EXPECTED
            daemon.process.kill()
            daemon.process.wait()
            daemon.start()
            daemon.wait_for(lambda: daemon.has_said("in charge"), "restart")
            traffic.wait_for(2)
        assert traffic.failures == []
        assert daemon.has_said("sync done", full=True, operations=0), "nothing was left to do"
        assert daemon.troubles() <= EXPECTED
    finally:
        daemon.process.kill()
        daemon.process.wait()


def _forgets_connections(daemon: Daemon, world: World) -> None:
    def talk() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.sendto(b"anybody there?", (TALKS, 80))

    world.client.call(talk)
    with_nobody = BEFORE.replace(*_talks("10.180.9.5"))
    daemon.write("all.yaml", with_nobody)
    daemon.wait_for(
        lambda: any(said.get("forgotten_flows") == 1 for said in daemon.events()), "a stale flow"
    )


def _talks(pod: str) -> tuple[str, str]:
    """The UDP Service as it is, and without its endpoint."""
    return objects("talks", TALKS, pod, protocol="UDP"), objects("talks", TALKS, protocol="UDP")


LACKING = [
    ("nftables", (), "CAP_NET_ADMIN missing"),
    ("nftables", ("NET_RAW", "DAC_READ_SEARCH", "SYS_ADMIN"), "CAP_NET_ADMIN missing"),
    ("iptables-nft", ("NET_RAW",), "CAP_NET_ADMIN missing"),
    ("iptables-legacy", ("NET_ADMIN", "DAC_READ_SEARCH"), "CAP_NET_RAW missing"),
    ("iptables-legacy", ("NET_RAW",), "CAP_NET_ADMIN missing"),
    ("iptables-legacy", (), "CAP_NET_ADMIN and CAP_NET_RAW missing"),
]
if SOMEBODY:
    LACKING.append(("iptables-legacy", ("NET_ADMIN", "NET_RAW"), "CAP_DAC_READ_SEARCH"))


def attempt(space: NetworkNamespace, line: list[str]) -> tuple[int, str]:
    """What comes of a command, and what it says."""
    done = space.call(
        lambda: subprocess.run(
            line, capture_output=True, text=True, timeout=patience(60), check=False
        )
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("mode", "rights", "words"), LACKING)
def test_not_enough(
    mode: str, rights: Sequence[str], words: str, netns: NetworkNamespace, place: Path
) -> None:
    Path("/run/xtables.lock").touch(0o600)
    (place / "services/web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1"))
    name, _, variant = mode.partition("-")
    line = [sys.executable, "-m", "netproxy", "run", "-f", str(place / "services")]
    line += ["--proxy-mode", name, "--iptables-variant", variant or "auto", *GIVEN, "-v=0"]
    code, said = attempt(netns, Confinement(rights, user=SOMEBODY).wrap(*line))
    assert code == 4, said
    first, second = said.splitlines()
    assert first.startswith("netproxy: error: ")
    assert second.startswith("hint: ")
    assert words in said
    assert netns.run("nft", "list", "ruleset") == "", "nothing was written"


def test_a_lock_that_nobody_can_make(netns: NetworkNamespace, place: Path) -> None:
    (place / "services/web.yaml").write_text(manifest("web", "10.96.0.1", "10.1.0.1"))
    line = [sys.executable, "-m", "netproxy", "run", "-f", str(place / "services"), *GIVEN, "-v=0"]
    line += ["--proxy-mode=iptables", "--iptables-variant=legacy"]
    empty = 'mount -t tmpfs none /run && mount -o remount,ro /run && exec "$@"'
    code, said = attempt(netns, ["unshare", "--mount", "sh", "-c", empty, "sh", *line])
    assert code == 4, said
    assert "/run/xtables.lock: Read-only file system" in said
    assert "hint: make /run/xtables.lock before" in said
