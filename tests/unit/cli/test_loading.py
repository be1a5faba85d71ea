"""What ``run`` goes by: flags, a file, and what is said about what counts for nothing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from netproxy import __version__
from netproxy.cli import run_command_line
from netproxy.cli.loading import Loaded, Loader
from netproxy.cli.options import WITHOUT_EFFECT
from netproxy.cli.run import _flags_given, run
from netproxy.config_file import read_config_file
from netproxy.errors import EXIT_BAD_INPUT, EXIT_OK, ConfigError
from tests.unit.config.configurations import HEAD, OWN, settings_of

KUBE_PROXY = """\
bind-address bind-address-hard-fail cleanup cluster-cidr config config-sync-period
conntrack-max-per-core conntrack-min conntrack-tcp-be-liberal conntrack-tcp-timeout-close-wait
conntrack-tcp-timeout-established conntrack-udp-timeout conntrack-udp-timeout-stream
detect-local-mode enable-dsr feature-gates forward-healthcheck-vip healthz-bind-address healthz-port
help hostname-override init-only iptables-localhost-nodeports iptables-masquerade-bit
iptables-min-sync-period iptables-sync-period ipvs-exclude-cidrs ipvs-min-sync-period ipvs-scheduler
ipvs-strict-arp ipvs-sync-period ipvs-tcp-timeout ipvs-tcpfin-timeout ipvs-udp-timeout
kube-api-burst kube-api-content-type kube-api-qps kubeconfig log-flush-frequency
log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size log-text-split-stream
logging-format masquerade-all master metrics-bind-address metrics-port network-name
nodeport-addresses oom-score-adj pod-bridge-interface pod-interface-name-prefix profiling proxy-mode
root-hnsendpoint-name show-hidden-metrics-for-version source-vip v version vmodule windows-service
write-config-to
"""
"""Source: kube-proxy 1.36, --help; those of Windows, too."""


@pytest.fixture(autouse=True)
def _log_is_as_it_was() -> Iterator[None]:
    root = logging.getLogger("netproxy")
    before = (root.handlers, root.level, root.propagate)
    yield
    root.handlers, root.propagate = before[0], before[2]
    root.setLevel(before[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def loader(*arguments: str) -> Loader:
    context = run.make_context("run", list(arguments))
    return Loader(context.params, _flags_given(context))


def run_for_file(path: Path, *arguments: str) -> int:
    return run_command_line(["run", *arguments, "--write-config-to", str(path)])


def log_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_flag_of_kube_proxy_is_there() -> None:
    context = click.Context(run)
    flags = {name for parameter in run.get_params(context) for name in parameter.opts}
    assert [name for name in KUBE_PROXY.split() if f"--{name}" not in flags] == []


def test_rarely_used_flags_are_documented_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run_command_line(["run", "--help"]) == EXIT_OK
        short = capsys.readouterr().out
        assert run_command_line(["run", "--help-all"]) == EXIT_OK
        long = capsys.readouterr().out
        assert [name for name in KUBE_PROXY.split() if f"--{name}" not in long] == []
        assert "--ipvs-scheduler" not in short


@pytest.mark.parametrize("flag", ["--version", "--version=true", "--version=raw"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["run", flag]) == EXIT_OK
    assert capsys.readouterr().out == f"netproxy {__version__}\n"


def test_flags_without_effect_say_so_once(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {
        "--ipvs-scheduler": "rr",
        "--source-vip": "192.0.2.1",
        "--windows-service": "true",
        "--feature-gates": "WinDSR=true",
    }
    arguments = [f"{flag}={word}" for flag, word in words.items()]
    assert run_for_file(path, "--log-format=json", *arguments) == EXIT_OK
    lines = log_lines(capsys.readouterr().err)
    assert [(line["event"], line.get("flag", line.get("gate"))) for line in lines] == [
        ("flag without effect", "--ipvs-scheduler"),
        ("flag without effect", "--source-vip"),
        ("flag without effect", "--windows-service"),
        ("feature gate without effect", "WinDSR"),
    ]
    assert all(line["reason"] == WITHOUT_EFFECT[line["flag"]] for line in lines[:-1])


def test_flags_without_effect_are_written_to_the_file_all_the_same(path: Path) -> None:
    flags = ["--ipvs-scheduler=rr", "--source-vip=x", "--config-sync-period=1m", "--vmodule=a*=2"]
    assert run_for_file(path, *flags, "--log-text-info-buffer-size=1Ki") == EXIT_OK
    assert [each.field for each in read_config_file(str(path)).warnings] == [
        "logging.vmodule",
        "logging.options.text.infoBufferSize",
        "ipvs.scheduler",
        "winkernel.sourceVip",
        "configSyncPeriod",
    ]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config-sync-period=0", "--config-sync-period: must be more than 0"),
        ("--ipvs-tcpfin-timeout=x", "--ipvs-tcpfin-timeout: 'x' is not a duration"),
        ("--kube-api-qps=nan", "--kube-api-qps: nan is no rate"),
        ("--kube-api-burst=-1", "--kube-api-burst: -1 is out of range"),
        ("--vmodule=a", "--vmodule: 'a' gives no level"),
        ("--vmodule==3", "--vmodule: '' fits no file"),
        ("--log-flush-frequency=x", "--log-flush-frequency: 'x' is not a duration"),
        ("--log-json-info-buffer-size=x", "--log-json-info-buffer-size: 'x' is no quantity"),
        ("--show-hidden-metrics-for-version=x", "--show-hidden-metrics-for-version: 'x' is no"),
        ("--feature-gates=NFTablesProxyMode=false", "--feature-gates: cannot be switched off"),
        ("--healthz-port=x", "--healthz-port: 'x' is not a whole number"),
        ("--iptables-sync-period=x", "--sync-period: 'x' is not a duration"),
    ],
)
def test_mistakes_name_the_flag_once(flag: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loader(flag).load()
    assert caught.value.message.startswith(words)
    assert caught.value.message.count("\n") == 0
    assert caught.value.hint


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("192.0.2.1", "99", "192.0.2.1:99"),
        ("::1", "99", "::1:99"),
        ("192.0.2.1:1", "99", "192.0.2.1:1"),
        ("192.0.2.1:1", "0", None),
    ],
)
def test_deprecated_ports_add_what_an_address_lacks(
    address: str, port: str, expected: str | None
) -> None:
    read = loader("--healthz-bind-address", address, "--healthz-port", port).load().settings
    listen = read.health_address
    assert (f"{listen.host}:{listen.port}" if listen else None) == expected


def test_beside_a_file_few_flags_count(path: Path) -> None:
    path.write_text(f"{HEAD}logging: {{format: json, verbosity: 2}}\nhostnameOverride: b\n")
    settings = (
        loader(
            *("--config", str(path), "--hostname-override=A", "--master=http://192.0.2.1", "-v=0"),
            *("--log-format=text", "--zone=z", "--proxy-mode=iptables", "--kubeconfig=/k"),
        )
        .load()
        .settings
    )
    assert settings.proxy.node_name == "a"
    assert settings.api.master == "http://192.0.2.1"
    assert settings.log == (False, 0)
    assert (settings.proxy.zone, settings.proxy.mode.value) == ("", "nftables")
    assert settings.api.kubeconfig == ""


def test_flags_win_over_what_the_own_document_says(path: Path) -> None:
    path.write_text(f"{HEAD}{OWN}logVerbosity: 0\nmaster: http://192.0.2.9\n")
    assert loader("--config", str(path)).load().settings.log.verbosity == 0
    assert loader("--config", str(path), "-v=6").load().settings.log.verbosity == 6
    assert loader("--config", str(path)).load().settings.api.master == "http://192.0.2.9"


def test_flags_that_a_file_overrules_are_named_as_they_are_written(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(f"{HEAD}clusterCidr: 10.0.0.0/8\nportRange: 1-2\n")
    flags = ["--iptables-localhost-nodeports=false", "--masquerade-bit=3", "--ipvs-scheduler=rr"]
    code = run_for_file(
        tmp_path / "out", "--config", str(path), "--logging-format=json", "--color=never", *flags
    )
    assert code == EXIT_OK
    lines = log_lines(capsys.readouterr().err)
    said = [(line["event"], line.get("flag", line.get("field"))) for line in lines]
    assert said == [
        ("flag without effect", "--ipvs-scheduler"),
        ("flag ignored", "--iptables-localhost-nodeports"),
        ("flag ignored", "--iptables-masquerade-bit"),
        ("configuration", "clusterCidr"),
        ("configuration", "portRange"),
        ("mode not set", None),
    ]
    assert "clusterCIDR" in lines[3]["error"]


def test_a_mode_that_is_set_is_not_worth_a_word(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(f"{HEAD}mode: iptables\n")
    assert run_for_file(tmp_path / "out", "--config", str(path)) == EXIT_OK
    assert capsys.readouterr().err == ""


def test_what_flags_say_that_files_cannot_survives_a_file(path: Path) -> None:
    flags = ["--healthz-bind-address=", "--metrics-port=0", "--min-sync-period=0", "-v=0"]
    flags += ["--master=http://192.0.2.1", "--hostname-override=node-1"]
    assert run_for_file(path, *flags) == EXIT_OK
    settings = settings_of(path)
    assert settings == loader(*flags).load().settings
    assert (settings.health_address, settings.metrics_address) == (None, None)
    assert (settings.min_sync_period_s, settings.log.verbosity) == (0, 0)


def test_exit_codes(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(f"{HEAD}mode: ipvs\nconntrack: {{min: few}}\n")
    assert run_for_file(path.with_name("out"), "--config", str(path)) == EXIT_BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith("netproxy: error: ")
    assert "conntrack.min: must be a whole number" in error
    assert "mode: there is no mode 'ipvs' (one of nftables, iptables; Kubernetes" in error
    assert not path.with_name("out").exists()


def test_a_change_between_reading_and_watching_is_not_missed(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("netproxy.config_file.POLL_S", 0.001)
    path.write_text(HEAD)
    loads = loader("--config", str(path), "--hostname-override=n", "--log-format=json")
    loads.load()
    path.write_text(f"{HEAD}mode: iptables\noomScoreAdjust: 1\n")

    async def next_change() -> Loaded | ConfigError:
        async with asyncio.timeout(30):
            return await anext(loads.changes())

    change = asyncio.run(next_change())
    assert isinstance(change, Loaded)
    assert change.settings.proxy.mode.value == "iptables"
    assert [each.field for each in change.warnings] == ["oomScoreAdjust"]


def test_without_a_file_nothing_ever_changes() -> None:
    async def changes() -> list[Loaded | ConfigError]:
        return [each async for each in loader("--hostname-override=n").changes()]

    assert asyncio.run(changes()) == []
