"""What the words of flags mean, and what is said about wrong ones."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from netproxy.cli import settings
from netproxy.cli.options import daemon_flags, dry_run_flag, proxy_flags
from netproxy.core.config import DetectLocalMode, ProxyConfig
from netproxy.errors import ConfigError
from netproxy.model.ip import parse_prefix

NODE = ("--hostname-override", "node-1")


def flags_of(*arguments: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What click collects for a command that takes all flags."""
    collected: dict[str, Any] = {}

    @click.command()
    @proxy_flags
    @daemon_flags
    @dry_run_flag
    def command(**flags: Any) -> None:
        collected.update(flags)

    result = CliRunner().invoke(
        command, arguments, env=environment, catch_exceptions=False, standalone_mode=False
    )
    if result.exception:
        raise result.exception
    return collected


def config_of(*arguments: str, **environment: str) -> ProxyConfig:
    return settings.read_proxy_config(flags_of(*NODE, *arguments, environment=environment))


def test_defaults() -> None:
    assert config_of() == ProxyConfig(node_name="node-1")


def test_the_hostname_is_the_default_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Node-7.Example")
    assert settings.read_proxy_config(flags_of()).node_name == "node-7.example"


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (
            ("--node-ip", "192.0.2.1", "--node-ip", "2001:DB8::1"),
            "node_ips",
            "192.0.2.1 2001:db8::1",
        ),
        (("--node-ip", "192.0.2.1,2001:db8::1"), "node_ips", "192.0.2.1 2001:db8::1"),
        (("--cluster-cidr", "10.4.0.0/14, fd00::/48"), "cluster_cidrs", "10.4.0.0/14 fd00::/48"),
        (
            ("--service-cidr", "10.9.0.0/16", "--service-cidr", "fd01::/112"),
            "service_cidrs",
            "10.9.0.0/16 fd01::/112",
        ),
        (("--nodeport-addresses", "primary"), "nodeport_addresses", ""),
        (("--nodeport-addresses", "192.0.2.0/24,::/0"), "nodeport_addresses", "192.0.2.0/24 ::/0"),
    ],
)
def test_lists(arguments: tuple[str, ...], field: str, value: str) -> None:
    assert " ".join(map(str, getattr(config_of(*arguments), field))) == value


def test_interface_modes() -> None:
    config = config_of("--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cni0")
    assert config.detect_local_mode is DetectLocalMode.BRIDGE_INTERFACE
    assert config.pod_bridge_interface == "cni0"


@pytest.mark.parametrize("flag", ["--iptables-masquerade-bit", "--masquerade-bit"])
def test_the_masquerade_bit_has_two_names(flag: str) -> None:
    assert config_of(flag, "31").masquerade_bit == 31


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("NETPROXY_CLUSTER_CIDR", "10.4.0.0/14", "cluster_cidrs", (parse_prefix("10.4.0.0/14"),)),
        ("NETPROXY_MASQUERADE_ALL", "true", "masquerade_all", True),
        ("NETPROXY_MASQUERADE_BIT", "3", "masquerade_bit", 3),
        ("NETPROXY_IPTABLES_MASQUERADE_BIT", "3", "masquerade_bit", 3),
        ("NETPROXY_ZONE", "z", "zone", "z"),
    ],
)
def test_the_environment(variable: str, value: str, field: str, expected: object) -> None:
    assert getattr(config_of(**{variable: value}), field) == expected


def test_a_flag_wins_over_the_environment() -> None:
    assert config_of("--zone", "a", NETPROXY_ZONE="b").zone == "a"


@pytest.mark.parametrize(
    ("flags", "setting", "problem"),
    [
        ("--node-ip 1.2.3", "--node-ip", "'1.2.3' is not an IP address"),
        ("--cluster-cidr ::", "--cluster-cidr", "'::' is not a prefix such as 10.0.0.0/8"),
        ("--cluster-cidr ::/0,fd00::/8", "--cluster-cidr", "more than one prefix of an IP family"),
        ("--service-cidr 10.0.0.0/33", "--service-cidr", "must be between 0 and 32"),
        ("--nodeport-addresses primary,::/0", "--nodeport-addresses", "primary stands alone"),
        ("--masquerade-bit 32", "--iptables-masquerade-bit", "32 is not a bit of a 32-bit mark"),
        ("--masquerade-bit -1", "--iptables-masquerade-bit", "-1 is not a bit of a 32-bit mark"),
        ("--detect-local-mode none", "--detect-local-mode", "there is no mode 'none'"),
        ("--detect-local-mode BridgeInterface", "--pod-bridge-interface", "is needed for"),
        (
            "--detect-local-mode InterfaceNamePrefix --pod-interface-name-prefix cali*",
            "--pod-interface-name-prefix",
            "'cali*' cannot be the name of an interface",
        ),
        ("--masquerade-all=maybe", "--masquerade-all", "'maybe' is neither true nor false"),
        ("--proxy-mode ipvs", "--proxy-mode", "there is no mode 'ipvs'"),
        ("--iptables-variant x", "--iptables-variant", "there is no variant 'x'"),
        ("--proxy-mode magic", "--proxy-mode", "there is no mode 'magic'"),
        ("--hostname-override ..", "--hostname-override", "'..' cannot be the name of a node"),
        ("--hostname-override a_b", "--hostname-override", "'a_b' cannot be the name of a node"),
    ],
)
def test_wrong_words(flags: str, setting: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(*flags.split())
    assert caught.value.message.startswith(f"{setting}: ")
    assert problem in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("flag", ["--min-sync-period", "--iptables-min-sync-period"])
def test_periods(flag: str) -> None:
    read = settings.read_settings(flags_of(*NODE, flag, "1s", "--sync-period", "5s"))
    periods = (read.min_sync_period_s, read.sync_period_s, read.full_sync_period_s)
    assert periods == (1.0, 5.0, 3600.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sync-period", "0"),
        ("--full-sync-period", "0s"),
        ("--min-sync-period", "31s"),
        ("--min-sync-period", "soon"),
    ],
)
def test_impossible_periods(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        settings.read_settings(flags_of(*NODE, *arguments))


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ((), None),
        (("-v",), 4),
        (("-v", "--masquerade-all"), 4),
        (("-vv",), 9),
        (("-v", "2"), 2),
        (("-v4",), 4),
        (("-v=4",), 4),
        (("--v=0",), 0),
        (("--v", "6"), 6),
    ],
)
def test_verbosity(arguments: tuple[str, ...], level: int | None) -> None:
    assert settings.read_verbosity(flags_of(*arguments)) == level


def test_no_verbosity() -> None:
    with pytest.raises(ConfigError, match="'loud' is not a level"):
        settings.read_verbosity(flags_of("-v", "loud"))


def test_manifests_must_be_named() -> None:
    assert settings.require_filenames(flags_of("-f", "a", "--filename", "b")) == ("a", "b")
    with pytest.raises(ConfigError, match="nothing to read"):
        settings.require_filenames(flags_of())


def test_a_gate_that_should_forbid_something_is_not_passed_over() -> None:
    words = ("--feature-gates", "AllBeta=true,AllowServiceExternalIPs=false")
    with pytest.raises(ConfigError, match="--feature-gates: externalIPs are always honoured"):
        settings.read_settings(flags_of(*NODE, *words))
    words = ("--feature-gates", "AllBeta=true,AllowServiceExternalIPs=true")
    assert settings.read_settings(flags_of(*NODE, *words))


@pytest.mark.parametrize(
    ("flags", "health", "metrics"),
    [
        ((), "0.0.0.0:10256", "127.0.0.1:10249"),
        (("--healthz-bind-address", "", "--metrics-bind-address", ""), None, None),
        (("--healthz-port", "99", "--metrics-port", "0"), "0.0.0.0:99", None),
        (("--bind-address", "2001:db8::1"), ":::10256", "::1:10249"),
    ],
)
def test_where_it_listens(flags: tuple[str, ...], health: str | None, metrics: str | None) -> None:
    read = settings.read_settings(flags_of(*NODE, *flags))
    words = [
        f"{each.host}:{each.port}" if each else None
        for each in (read.health_address, read.metrics_address)
    ]
    assert words == [health, metrics]
