"""The systemd unit: what systemd says to it, and what is printed for which flags."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netproxy.cli import run_command_line
from netproxy.core.config import ProxyMode
from netproxy.deploy.unit import plan_unit, quote
from netproxy.errors import EXIT_BAD_INPUT, EXIT_OK
from netproxy.render.deploy import render_unit
from tests.unit.deploy.unit_file import UnitFile, read_unit

FLAGS = ("-f", "/etc/netproxy/services", "--cluster-cidr=10.244.0.0/16")
MOST_EXPOSED = {ProxyMode.NFTABLES: 2.0, ProxyMode.IPTABLES: 2.3}
"""Of 10, by the measure of systemd 252; higher is worse."""
every_mode = pytest.mark.parametrize("mode", ProxyMode)


def unit(mode: ProxyMode = ProxyMode.NFTABLES, *, legacy_iptables: bool = False) -> UnitFile:
    plan = plan_unit(sys.executable, FLAGS, mode, legacy_iptables=legacy_iptables)
    return read_unit(render_unit(plan))


if shutil.which("systemd-analyze"):

    def analyze(*arguments: str) -> str:
        done = subprocess.run(
            ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @every_mode
    def test_systemd_finds_nothing_wrong(mode: ProxyMode, tmp_path: Path) -> None:
        file = tmp_path / "netproxy.service"
        file.write_text(render_unit(plan_unit(sys.executable, FLAGS, mode)))
        assert analyze("verify", "--man=no", str(file)) == ""

    def test_systemd_would_find_something(tmp_path: Path) -> None:
        file = tmp_path / "netproxy.service"
        text = render_unit(plan_unit(sys.executable, FLAGS, ProxyMode.NFTABLES))
        file.write_text(text.replace("ProtectSystem=", "ProtectSytem="))
        assert "ProtectSytem" in analyze("verify", "--man=no", str(file))

    @every_mode
    def test_systemd_calls_it_hardened(mode: ProxyMode, tmp_path: Path) -> None:
        file = tmp_path / "netproxy.service"
        file.write_text(render_unit(plan_unit(sys.executable, FLAGS, mode)))
        said = analyze("security", "--offline=yes", "--no-pager", str(file))
        exposure = re.search(r"Overall exposure level for netproxy.service: ([0-9.]+)", said)
        assert exposure
        assert float(exposure[1]) <= MOST_EXPOSED[mode]


@pytest.mark.parametrize(
    ("mode", "legacy_iptables", "capabilities"),
    [
        (ProxyMode.NFTABLES, False, "CAP_NET_ADMIN"),
        (ProxyMode.NFTABLES, True, "CAP_NET_ADMIN CAP_NET_RAW"),
        (ProxyMode.IPTABLES, False, "CAP_NET_ADMIN CAP_NET_RAW"),
    ],
)
def test_capabilities(mode: ProxyMode, legacy_iptables: bool, capabilities: str) -> None:
    service = unit(mode, legacy_iptables=legacy_iptables)["Service"]
    assert service["CapabilityBoundingSet"] == [capabilities]
    assert service.get("ReadWritePaths") == (["/run"] if "RAW" in capabilities else None)
    is_written = mode is ProxyMode.IPTABLES
    assert service["ProtectKernelTunables"] == ["no" if is_written else "yes"]


def test_settings_are_written_before_with_full_rights() -> None:
    service = unit()["Service"]
    (start,) = service["ExecStart"]
    assert service["ExecStartPre"] == [f"+{start} --init-only"]


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("--cluster-cidr=10.0.0.0/8,fd00::/64", "--cluster-cidr=10.0.0.0/8,fd00::/64"),
        ("a b", '"a b"'),
        ("", '""'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        ("\n", '"\\x0a"'),
        (";", '";"'),
        ("\udcff", '"\\xff"'),
    ],
)
def test_words_of_a_command_line(word: str, spelled: str) -> None:
    assert quote(word) == spelled


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*FLAGS, "--proxy-mode", "iptables")
    assert run_command_line(["deploy", "unit", "--executable", "/bin/sh", *words]) == EXIT_OK
    out = capsys.readouterr().out
    assert out == render_unit(plan_unit("/bin/sh", words, ProxyMode.IPTABLES))
    assert run_command_line(["deploy", "unit", "--legacy-iptables", "--", *FLAGS]) == EXIT_OK
    service = read_unit(capsys.readouterr().out)["Service"]
    assert service["ExecStart"][0].endswith("/netproxy run " + " ".join(FLAGS))
    assert "CAP_NET_RAW" in service["CapabilityBoundingSet"][0]


def test_the_program_that_prints_it_is_the_one_that_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "netproxy").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["./netproxy"])
    assert run_command_line(["deploy", "unit", *FLAGS]) == EXIT_OK
    service = read_unit(capsys.readouterr().out)["Service"]
    assert service["ExecStart"] == [f"{tmp_path}/netproxy run {' '.join(FLAGS)}"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "nothing says where Services come from"),
        (["--kubeconfig", "config"], "'config' is relative"),
        (["--config", "/nowhere/config.yaml"], "No such file"),
        (["-f", "services"], "'services' is relative, and a service is in no directory"),
        (["-f", "/a", "--proxy-mode", "ipvs"], "there is no mode 'ipvs'"),
        (["-f", "/a", "--bogus"], "no such option '--bogus'"),
        (["--executable", "netproxy", "-f", "/a"], "'netproxy' is relative"),
    ],
)
def test_what_could_never_start_is_refused(
    words: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["deploy", "unit", *words]) == EXIT_BAD_INPUT
    said = capsys.readouterr()
    assert problem in said.err
    assert said.out == ""


def test_the_environment_of_whoever_prints_it_does_not_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETPROXY_PROXY_MODE", "iptables")
    assert run_command_line(["deploy", "unit", *FLAGS]) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert "--proxy-mode: is set in the environment here" in said


def test_a_configuration_file_says_which_rights_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        "mode: iptables\n"
    )
    assert run_command_line(["deploy", "unit", "--", "--config", str(path)]) == EXIT_OK
    service = read_unit(capsys.readouterr().out)["Service"]
    assert "CAP_NET_RAW" in service["CapabilityBoundingSet"][0]
    assert run_command_line(["deploy", "unit", "--", "--kubeconfig", "/etc/k"]) == EXIT_OK
    service = read_unit(capsys.readouterr().out)["Service"]
    assert "CAP_NET_RAW" not in service["CapabilityBoundingSet"][0]
