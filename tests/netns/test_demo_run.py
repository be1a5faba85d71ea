"""The demo as a person runs it: it succeeds, and it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from netproxy.lab import census, cluster, demo, rootless
from netproxy.lab.demo import LAB_PREFIX
from tests.patience import patience

NETPROXY = (sys.executable, "-m", "netproxy")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not rootless.may_make_namespaces(),
    reason="needs root, or unshare --user --map-root-user --net --mount",
)


def assert_gone(pid: int) -> None:
    assert census.list_names(f"{LAB_PREFIX}{pid}") == []
    assert not (cluster.labs_dir() / f"{LAB_PREFIX}{pid}").exists()


@pytest.mark.parametrize("families", ["dual", "ipv4"])
def test_demo_succeeds(families: str) -> None:
    running = subprocess.Popen(
        [*NETPROXY, "demo", "--families", families],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, complaint = running.communicate(timeout=patience(120))
    assert running.returncode == 0, output + complaint
    assert complaint == ""
    assert "\x1b" not in output
    assert "✗" not in output
    for words in (
        "is fd00:96::80 and 10.96.0.80" if families == "dual" else "is 10.96.0.80",
        "none of 800 failed" if families == "dual" else "none of 400 failed",
        "came: first connection after",
        "deleted: last connection after",
        "external-database: 100 of 100",
    ):
        assert words in output
    assert_gone(running.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("namespaces", [2, 8])
def test_an_interrupted_demo_cleans_up(number: signal.Signals, namespaces: int) -> None:
    running = subprocess.Popen(
        [*NETPROXY, "demo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    lab = f"{LAB_PREFIX}{running.pid}"
    deadline = time.monotonic() + patience(30)
    while len(census.list_names(lab)) < namespaces and time.monotonic() < deadline:
        time.sleep(0.001)
    running.send_signal(number)
    assert running.wait(patience(60)) == 128 + number
    assert_gone(running.pid)


def test_a_killed_demo_is_removed_by_the_next() -> None:
    running = subprocess.Popen(
        [*NETPROXY, "demo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    lab = f"{LAB_PREFIX}{running.pid}"
    deadline = time.monotonic() + patience(30)
    while len(census.list_names(lab)) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert census.list_names(lab)
    running.kill()
    running.wait()
    demo.remove_stale_labs()
    assert_gone(running.pid)


def test_without_any_rights_the_rules_are_shown() -> None:
    """Root without capabilities may make neither namespaces nor a user namespace as root."""
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", *NETPROXY, "demo"],
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert done.returncode == 4
    first, rest = done.stdout.split("\n", 1)
    assert "No lab is possible" in first
    assert "10.96.0.80" in rest
