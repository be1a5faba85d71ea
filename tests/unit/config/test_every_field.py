"""Each field of a configuration means something, or it is said that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from netproxy.config.kubeproxy import KubeProxyConfiguration, NetproxyConfiguration
from netproxy.config_file import read_config_file
from netproxy.core.config import ProxyMode
from netproxy.errors import ConfigError

from .configurations import HEAD, KUBE_FIELDS, OWN, OWN_FIELDS, document, settings_of

KUBE: dict[str, tuple[Any, dict[str, Any]]] = {
    "bindAddress": ("192.0.2.9", {}),
    "bindAddressHardFail": (True, {}),
    "clientConnection.burst": (7, {}),
    "clientConnection.kubeconfig": ("/k", {}),
    "clientConnection.qps": (-1, {}),
    "clusterCIDR": ("10.0.0.0/8", {}),
    "conntrack.maxPerCore": (0, {}),
    "conntrack.min": (0, {}),
    "conntrack.tcpBeLiberal": (True, {}),
    "conntrack.tcpCloseWaitTimeout": ("2h", {}),
    "conntrack.tcpEstablishedTimeout": ("0s", {}),
    "conntrack.udpStreamTimeout": ("1m30s", {}),
    "conntrack.udpTimeout": ("1.5m", {}),
    "detectLocal.bridgeInterface": ("cni0", {"detectLocalMode": "BridgeInterface"}),
    "detectLocal.interfaceNamePrefix": ("cali", {"detectLocalMode": "InterfaceNamePrefix"}),
    "detectLocalMode": ("NodeCIDR", {}),
    "enableProfiling": (True, {}),
    "healthzBindAddress": ("[::]:1", {}),
    "hostnameOverride": ("other", {}),
    "iptables.localhostNodePorts": (False, {"mode": "iptables"}),
    "iptables.masqueradeAll": (True, {"mode": "iptables"}),
    "iptables.masqueradeBit": (0, {"mode": "iptables"}),
    "iptables.minSyncPeriod": ("1s", {"mode": "iptables"}),
    "iptables.syncPeriod": ("1m", {"mode": "iptables"}),
    "logging.format": ("json", {}),
    "logging.verbosity": (4, {}),
    "metricsBindAddress": ("0.0.0.0", {}),
    "mode": ("iptables", {}),
    "nftables.masqueradeAll": (True, {"mode": "nftables"}),
    "nftables.masqueradeBit": (0, {"mode": "nftables"}),
    "nftables.minSyncPeriod": ("1s", {"mode": "nftables"}),
    "nftables.syncPeriod": ("1m", {"mode": "nftables"}),
    "nodePortAddresses": (["primary"], {}),
    "oomScoreAdj": (0, {}),
}
"""Field → a value that is not the default, and what else it takes to mean something."""

OURS: dict[str, tuple[Any, dict[str, Any]]] = {
    "fullSyncPeriod": ("2h", {}),
    "iptablesVariant": ("nft", {}),
    "kubeContext": ("c", {}),
    "logVerbosity": (0, {}),
    "master": ("https://192.0.2.1", {}),
    "minSyncPeriod": ("0s", {}),
    "nodeIPs": (["192.0.2.7"], {}),
    "requireSysctls": (True, {}),
    "serveHealth": (False, {}),
    "serveMetrics": (False, {}),
    "serviceCIDRs": (["10.96.0.0/12"], {}),
    "serviceCounters": (True, {}),
    "takeOver": (False, {}),
    "zone": ("z", {}),
}

WITHOUT_EFFECT = {
    "clientConnection.acceptContentTypes": "application/cbor",
    "clientConnection.contentType": "application/cbor",
    "configSyncPeriod": "1m",
    "ipvs.excludeCIDRs": ["10.0.0.0/8"],
    "ipvs.minSyncPeriod": "1s",
    "ipvs.scheduler": "rr",
    "ipvs.strictARP": True,
    "ipvs.syncPeriod": "1m",
    "ipvs.tcpFinTimeout": "1s",
    "ipvs.tcpTimeout": "1s",
    "ipvs.udpTimeout": "1s",
    "logging.flushFrequency": "1s",
    "logging.options.json.infoBufferSize": "64Ki",
    "logging.options.json.splitStream": True,
    "logging.options.text.infoBufferSize": 4096,
    "logging.options.text.splitStream": True,
    "logging.vmodule": [{"filePattern": "proxier*", "verbosity": 3}],
    "portRange": "1-2",
    "showHiddenMetricsForVersion": "1.35",
    "windowsRunAsService": True,
    "winkernel.enableDSR": True,
    "winkernel.forwardHealthCheckVip": True,
    "winkernel.networkName": "n",
    "winkernel.rootHnsEndpointName": "n",
    "winkernel.sourceVip": "192.0.2.1",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_no_field_is_forgotten() -> None:
    assert {*KUBE, *WITHOUT_EFFECT, "featureGates"} == set(KUBE_FIELDS)
    assert set(OURS) == set(OWN_FIELDS)


@pytest.mark.parametrize("field", KUBE)
def test_kube_proxys_fields_mean_something(path: Path, field: str) -> None:
    value, beside = KUBE[field]
    path.write_text(yaml.safe_dump(document(KubeProxyConfiguration, **beside, **{field: value})))
    changed = settings_of(path)
    assert read_config_file(str(path)).warnings == []
    others = {"detectLocalMode": "NodeCIDR"} if "Local." in field else beside
    path.write_text(yaml.safe_dump(document(KubeProxyConfiguration, **others)))
    assert settings_of(path) != changed


@pytest.mark.parametrize("field", OURS)
def test_our_fields_mean_something(path: Path, field: str) -> None:
    value, beside = OURS[field]
    path.write_text(HEAD)
    usual = settings_of(path)
    own = yaml.safe_dump(document(NetproxyConfiguration, **beside, **{field: value}))
    path.write_text(f"{HEAD}---\n{own}")
    assert settings_of(path) != usual
    path.write_text(own)
    assert settings_of(path) != usual, "ours may stand alone"


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_fields_without_effect_are_accepted_and_named(path: Path, field: str) -> None:
    path.write_text(HEAD)
    usual = settings_of(path)
    value = WITHOUT_EFFECT[field]
    path.write_text(yaml.safe_dump(document(KubeProxyConfiguration, **{field: value})))
    assert settings_of(path) == usual
    (warning,) = read_config_file(str(path)).warnings
    assert warning.field == field
    assert warning.problem.startswith("has no effect: ")


def test_without_a_mode_the_iptables_block_counts(path: Path) -> None:
    """kube-proxy would take iptables and this block."""
    block = "{masqueradeAll: true, masqueradeBit: 3, syncPeriod: 1m, minSyncPeriod: 2s}"
    path.write_text(f"{HEAD}iptables: {block}\n")
    settings = settings_of(path)
    assert settings.proxy.mode is ProxyMode.NFTABLES
    assert (settings.proxy.masquerade_all, settings.proxy.masquerade_bit) == (True, 3)
    assert (settings.sync_period_s, settings.min_sync_period_s) == (60, 2)

    path.write_text(f"{HEAD}iptables: {block}\nnftables: {{masqueradeBit: 4, syncPeriod: 3m}}\n")
    settings = settings_of(path)
    assert (settings.proxy.masquerade_bit, settings.sync_period_s) == (4, 180)

    path.write_text(f"{HEAD}mode: nftables\niptables: {block}\n")
    settings = settings_of(path)
    assert (settings.proxy.masquerade_all, settings.proxy.masquerade_bit) == (False, 14)
    assert (settings.sync_period_s, settings.min_sync_period_s) == (30, 0.1)


@pytest.mark.parametrize(
    ("bind", "health", "metrics", "expected"),
    [
        ("", "", "", ("0.0.0.0:10256", "127.0.0.1:10249")),
        ("::", "", "", (":::10256", "::1:10249")),
        ("192.0.2.1", "192.0.2.1", "::1", ("192.0.2.1:10256", "::1:10249")),
        ("", "[fd00::1]", "127.0.0.1:1", ("fd00::1:10256", "127.0.0.1:1")),
    ],
)
def test_addresses_get_what_they_lack(
    path: Path, bind: str, health: str, metrics: str, expected: tuple[str, str]
) -> None:
    words = {"bindAddress": bind, "healthzBindAddress": health, "metricsBindAddress": metrics}
    path.write_text(yaml.safe_dump(document(KubeProxyConfiguration, **words)))
    settings = settings_of(path)
    listens = (settings.health_address, settings.metrics_address)
    assert tuple(f"{each.host}:{each.port}" for each in listens if each) == expected


MISTAKES = [
    ("iptables: {syncPeriod: soon}", "iptables.syncPeriod: 'soon' is not a duration"),
    ("mode: iptables\nnftables: {masqueradeBit: 32}", "nftables.masqueradeBit: 32 is not a bit"),
    ("ipvs: {tcpTimeout: -1s}", "ipvs.tcpTimeout: -1s is less than nothing"),
    ("configSyncPeriod: -1s", "configSyncPeriod: -1s is less than nothing"),
    ("clientConnection: {qps: .nan}", "clientConnection.qps: nan is no rate"),
    ("clientConnection: {qps: .inf}", "clientConnection.qps: inf is no rate"),
    ("clientConnection: {burst: -1}", "clientConnection.burst: -1 is out of range"),
    ("healthzBindAddress: 0.0.0.0:0", "healthzBindAddress: '0' is no port"),
    ("metricsBindAddress: 1.2.3.4:٣", "metricsBindAddress: '٣' is no port"),
    ("logging: {flushFrequency: soon}", "logging.flushFrequency: 'soon' is not a duration"),
    ("logging: {flushFrequency: -1}", "logging.flushFrequency: -1 is out of range"),
    ("logging: {verbosity: -1}", "logging.verbosity: -1 is out of range"),
    ("logging: {vmodule: [{verbosity: 1}]}", "logging.vmodule[0].filePattern: '' fits no file"),
    ("logging: {vmodule: [{filePattern: a, verbosity: -1}]}", "logging.vmodule[0].verbosity: -1"),
    ("logging: {vmodule: [{verbosity: x}]}", "logging.vmodule[0].verbosity: must be a whole"),
    ("logging: {format: json, vmodule: [{filePattern: a}]}", "logging.vmodule: is for format text"),
    ("logging: {options: {text: {infoBufferSize: much}}}", "infoBufferSize: 'much' is no quantity"),
    ("showHiddenMetricsForVersion: last", "showHiddenMetricsForVersion: 'last' is no version"),
    ("mode: kernelspace", "mode: there is no mode 'kernelspace'"),
    ("featureGates: {AllowServiceExternalIP: false}", "there is no gate 'AllowServiceExternalIP'"),
    ("featureGates: {NFTablesProxyMode: false}", "featureGates.NFTablesProxyMode: cannot be"),
    ("featureGates: {B: true, A: 1}", "featureGates.A: must be true or false, not a whole"),
    ("featureGates: {a-b: 1}", "featureGates[...]: must be true or false, not a whole"),
    ("ipvs: {syncPeriod: 5}", "ipvs.syncPeriod: must be text, not a whole number"),
    ("featureGates: [A]", "featureGates: must be a mapping, not a list"),
    (f"oomScoreAdj: {'9' * 40}", "oomScoreAdj: a number of too many digits is out of range"),
    (f"nftables: {{masqueradeBit: {'9' * 40}}}", "masqueradeBit: a number of too many digits"),
    ("conntrack: {min: 0x7fffffffff}", "conntrack.min: 549755813887 is out of range"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_mistakes_have_a_field_and_a_remedy(path: Path, text: str, words: str) -> None:
    path.write_text(HEAD + text)
    with pytest.raises(ConfigError) as caught:
        settings_of(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert words in caught.value.message
    assert caught.value.hint


def test_a_key_that_stands_twice_is_a_mistake(path: Path) -> None:
    path.write_text(f"{HEAD}mode: iptables\nmode: nftables\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:4: the key 'mode' stands here twice"):
        settings_of(path)


def test_one_mistake_does_not_hide_the_next(path: Path) -> None:
    """Wrong types, wrong values, in one block and in several documents."""
    kube = "mode: ipvs\nconntrack: {min: few, maxPerCore: many, udpTimeout: -1s}\noomScoreAdj: 5000"
    path.write_text(f"{HEAD}{kube}\n{OWN}takeOver: 1\niptablesVariant: new\n")
    with pytest.raises(ConfigError) as caught:
        settings_of(path)
    lines = caught.value.message.splitlines()
    fields = [line.removeprefix(f"{path}: ").partition(":")[0] for line in lines]
    assert sorted(fields) == sorted(
        [
            "conntrack.maxPerCore",
            "conntrack.min",
            "conntrack.udpTimeout",
            "iptablesVariant",
            "mode",
            "oomScoreAdj",
            "takeOver",
        ]
    )
    assert all(line.endswith(")") for line in lines), "each with its remedy"


def test_unknown_fields_are_found_in_lists_and_inner_blocks(path: Path) -> None:
    options = "{options: {text: {splitStreams: true}}, vmodule: [{filePattern: a}, {pattern: b}]}"
    path.write_text(f"{HEAD}logging: {options}\n")
    with pytest.raises(ConfigError, match=r"vmodule\[1\].filePattern"):
        settings_of(path)
    path.write_text(f"{HEAD}logging: {options}\n".replace("pattern: b", "filePattern: b, level: 1"))
    unknown = [each for each in read_config_file(str(path)).warnings if "no such" in each.problem]
    assert [each.field for each in unknown] == [
        "logging.options.text.splitStreams",
        "logging.vmodule[1].level",
    ]
    assert "did you mean logging.options.text.splitStream?" in unknown[0].problem
