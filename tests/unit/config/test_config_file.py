"""KubeProxyConfiguration files: defaults, mistakes, round trips, and how they are followed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.config.decode import Configuration, decode_documents
from netproxy.config.kubeproxy import KubeProxyConfiguration, NetproxyConfiguration
from netproxy.config.problems import Problems
from netproxy.config.settings import Listen, Settings, make_settings
from netproxy.config_file import (
    Read,
    read_config_file,
    speller,
    watch_config_file,
    write_config_file,
)
from netproxy.core.config import DetectLocalMode, ProxyMode
from netproxy.errors import ConfigError
from netproxy.model.ip import IPAddress

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN = "---\napiVersion: netproxy.dev/v1alpha1\nkind: NetproxyConfiguration\n"
KUBEADM = (
    HEAD
    + """
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null,
  tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s,
  syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s,
  tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging:
  flushFrequency: 0
  options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "",
  rootHnsEndpointName: "", sourceVip: ""}
"""
)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "config.yaml").write_text(text)
        return str(tmp_path / "config.yaml")

    return write


def listen(host: str, port: int) -> Listen:
    return Listen(IPAddress(host), port)


def settings_of(path: str) -> Settings:
    read = read_config_file(path)
    return make_settings(read.configuration, hostname="node-1", spell=speller(path))


def test_what_kubeadm_writes_means_the_defaults(file: Callable[[str], str]) -> None:
    path = file(KUBEADM)
    settings = settings_of(path)
    assert settings.proxy.mode is ProxyMode.NFTABLES
    assert settings.proxy.node_name == "node-1"
    assert settings.proxy.node_ips == ()
    assert [str(prefix) for prefix in settings.proxy.cluster_cidrs] == ["10.244.0.0/16"]
    assert settings.proxy.detect_local_mode is DetectLocalMode.CLUSTER_CIDR
    assert (settings.proxy.masquerade_bit, settings.proxy.masquerade_all) == (14, False)
    assert settings.proxy.localhost_nodeports
    assert (settings.sync_period_s, settings.min_sync_period_s) == (30, 0.1)
    assert settings.full_sync_period_s == 3600
    assert settings.health_address == listen("0.0.0.0", 10256)
    assert settings.metrics_address == listen("127.0.0.1", 10249)
    assert settings.oom_score_adj == -999
    assert settings.conntrack == (32768, 131072, 86400, 3600, False, 0, 0)
    assert settings.api == ("/var/lib/kube-proxy/kubeconfig.conf", "", "", 5.0, 10)
    assert (settings.take_over, settings.bind_hard_fail, settings.profiling) == (True, False, False)
    assert read_config_file(path).warnings == []


EVERYTHING = (
    HEAD
    + """
mode: iptables
hostnameOverride: Node-7
bindAddress: "2001:db8::7"
metricsBindAddress: 10.0.0.1
healthzBindAddress: "[::1]:99"
bindAddressHardFail: true
enableProfiling: true
clusterCIDR: 10.4.0.0/14,fd00:4::/48
detectLocalMode: InterfaceNamePrefix
detectLocal: {interfaceNamePrefix: cali}
nodePortAddresses: [192.0.2.0/24, "::1/128"]
oomScoreAdj: 0
iptables: {masqueradeBit: 0, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1m,
  minSyncPeriod: 2s}
conntrack: {maxPerCore: 0, min: 7, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 90s,
  tcpBeLiberal: true, udpTimeout: 1m, udpStreamTimeout: 2m}
clientConnection: {kubeconfig: /k, qps: 50, burst: 100}
logging: {format: json, verbosity: 4}
"""
    + OWN
    + """
nodeIPs: [192.0.2.7]
zone: a
serviceCIDRs: [10.96.0.0/12]
fullSyncPeriod: 10m
takeOver: false
iptablesVariant: nft
requireSysctls: true
serviceCounters: true
kubeContext: c
"""
)


def test_everything_that_can_be_said(file: Callable[[str], str]) -> None:
    settings = settings_of(file(EVERYTHING))
    proxy = settings.proxy
    assert (proxy.mode, proxy.node_name, proxy.zone) == (ProxyMode.IPTABLES, "node-7", "a")
    assert proxy.node_ips == ("192.0.2.7", "2001:db8::7")
    assert (proxy.masquerade_bit, proxy.masquerade_all, proxy.localhost_nodeports) == (
        0,
        True,
        False,
    )
    assert proxy.pod_interface_name_prefix == "cali"
    assert " ".join(map(str, proxy.nodeport_addresses)) == "192.0.2.0/24 ::1/128"
    assert " ".join(map(str, proxy.service_cidrs)) == "10.96.0.0/12"
    assert (settings.sync_period_s, settings.min_sync_period_s) == (60, 2)
    assert settings.full_sync_period_s == 600
    assert settings.metrics_address == listen("10.0.0.1", 10249)
    assert settings.health_address == listen("::1", 99)
    assert settings.conntrack == (0, 7, 0, 90, True, 60, 120)
    assert settings.api == ("/k", "", "c", 50.0, 100)
    assert settings.log == (True, 4)
    assert (settings.oom_score_adj, settings.take_over, settings.require_sysctls) == (
        0,
        False,
        True,
    )
    assert proxy.service_counters
    assert proxy.iptables_variant == "nft"


def test_all_mistakes_are_named_at_once(file: Callable[[str], str]) -> None:
    path = file(HEAD + "mode: ipvs\noomScoreAdj: 5000\nconntrack: {min: -1, udpTimeout: soon}\n")
    with pytest.raises(ConfigError) as caught:
        settings_of(path)
    for words in (
        f"{path}: mode: there is no mode 'ipvs'",
        f"{path}: oomScoreAdj: 5000 is out of range",
        f"{path}: conntrack.min: -1 is out of range",
        f"{path}: conntrack.udpTimeout: 'soon' is not a duration",
    ):
        assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("iptables: {syncPeriod: 5}", "iptables.syncPeriod: must be text, not a whole number"),
        ("iptables: [1]", "iptables: must be a mapping, not a list"),
        ("nodePortAddresses: [1]", "nodePortAddresses[0]: must be text"),
        ("oomScoreAdj: few\nmode: 7", "oomScoreAdj: must be a whole number"),
        ("oomScoreAdj: few\nmode: 7", "mode: must be text"),
        ("nftables: {syncPeriod: 1s, minSyncPeriod: 2s}", "minSyncPeriod: 2s is longer than"),
        ("nftables: {syncPeriod: -1s}", "nftables.syncPeriod: -1s is less than nothing"),
        ("bindAddress: here", "bindAddress: 'here' is not an IP address"),
        ("healthzBindAddress: 0.0.0.0:no", "healthzBindAddress: 'no' is no port"),
        ("detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface: is needed"),
        ("nftables: {masqueradeBit: 32}", "nftables.masqueradeBit: 32 is not a bit"),
        ("clusterCIDR: 10.0.0.0/8,11.0.0.0/8", "clusterCIDR: 10.0.0.0/8,11.0.0.0/8 has more than"),
        ("logging: {format: xml}", "logging.format: there is no format 'xml'"),
    ],
)
def test_mistakes(file: Callable[[str], str], text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(file(HEAD + text))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("kind: Service", "'Service' is no configuration of a proxy"),
        ("kind: KubeProxyConfiguration\napiVersion: v1", "'v1' has no KubeProxyConfiguration"),
        ("[1]", ":1: a list is no Kubernetes object"),
        ("{", ":2: is neither YAML nor JSON"),
        ("\ufffe", "is neither YAML nor JSON: unacceptable character"),
        (HEAD + "---\n" + HEAD, "there is more than one KubeProxyConfiguration"),
    ],
)
def test_files_that_are_no_configuration(file: Callable[[str], str], text: str, words: str) -> None:
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert path in caught.value.message
    assert words in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_config_file(str(tmp_path / "nothing"))


def test_unknown_fields_are_warned_of(file: Callable[[str], str]) -> None:
    read = read_config_file(file(HEAD + "clusterCidr: 10.0.0.0/8\niptables: {syncperiod: 1s}\n"))
    assert [each.field for each in read.warnings] == ["clusterCidr", "iptables.syncperiod"]
    assert "did you mean clusterCIDR?" in read.warnings[0].problem
    assert "did you mean iptables.syncPeriod?" in read.warnings[1].problem


def test_what_is_written_means_the_same(file: Callable[[str], str], tmp_path: Path) -> None:
    path = file(KUBEADM.replace("oomScoreAdj: null", "oomScoreAdj: 0") + OWN + "zone: b\n")
    first = read_config_file(path)
    copy = str(tmp_path / "copy.yaml")
    write_config_file(copy, first.configuration)
    second = read_config_file(copy)
    assert second.warnings == []
    assert settings_of(copy) == settings_of(path)
    write_config_file(str(tmp_path / "again.yaml"), second.configuration)
    assert (tmp_path / "again.yaml").read_bytes() == Path(copy).read_bytes()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
field_names = st.sampled_from(
    [
        *(
            f
            for kind in (KubeProxyConfiguration, NetproxyConfiguration)
            for f in kind.__struct_encode_fields__
        ),
        "x",
    ]
)


@given(
    st.dictionaries(field_names, json_values | st.dictionaries(st.text(), json_values)),
    st.booleans(),
)
def test_no_file_raises_anything_else(fields: dict[str, Any], is_own: bool) -> None:
    kind = NetproxyConfiguration() if is_own else KubeProxyConfiguration()
    document = {**fields, "kind": kind.kind, "apiVersion": kind.api_version}
    problems = Problems()
    configuration, _ = decode_documents([document], problems)
    with contextlib.suppress(ConfigError):
        problems.raise_if_any(str)
        assert make_settings(configuration, hostname="node-1").proxy.node_name


@given(json_values)
def test_no_document_raises_anything(document: object) -> None:
    problems = Problems()
    configuration, _ = decode_documents([document], problems)
    assert isinstance(configuration, Configuration)
    assert problems.found


def test_half_a_file_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody is writing may be a configuration at any moment, but not the one they mean."""
    path = tmp_path / "config.yaml"
    path.write_text(HEAD)
    writes = iter(["mode: iptables\n", "clusterCIDR: 10.0.0.0/8\n", "oomScoreAdj: 0\n"])

    async def work_on(seconds: float) -> None:
        assert seconds > 0
        with contextlib.suppress(StopIteration), path.open("a") as file:
            file.write(next(writes))

    monkeypatch.setattr(asyncio, "sleep", work_on)
    changes = watch_config_file(str(path), path.read_bytes())

    async def next_change() -> Read | ConfigError:
        return await anext(changes)

    change = asyncio.run(next_change())
    assert isinstance(change, Read)
    assert change.configuration.kube.oom_score_adj == 0


def test_a_file_is_followed_through_renames_symlinks_and_mistakes(tmp_path: Path) -> None:
    """A mounted ConfigMap: a link to ..data/file, and ..data is a link that is replaced."""
    for name, zone in (("first", "a"), ("second", "b")):
        (tmp_path / name).mkdir()
        text = json.dumps(
            {"apiVersion": "netproxy.dev/v1alpha1", "kind": "NetproxyConfiguration", "zone": zone}
        )
        (tmp_path / name / "config.conf").write_text(text)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "config.conf").symlink_to("..data/config.conf")
    path = str(tmp_path / "config.conf")

    def swap(target: str) -> None:
        (tmp_path / "..new").symlink_to(target)
        os.replace(tmp_path / "..new", tmp_path / "..data")

    async def follow() -> None:
        changes = watch_config_file(path, Path(path).read_bytes(), poll_s=0.001)

        async def following(change: Callable[[], object]) -> Read | ConfigError:
            # Begun before the change is made, as its first step looks at what there is.
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0.01)
            change()
            async with asyncio.timeout(10):
                return await waiting

        one = await following(lambda: swap("second"))
        assert isinstance(one, Read)
        assert one.configuration.own.zone == "b"
        two = await following(lambda: (tmp_path / "second" / "config.conf").write_text("{"))
        assert isinstance(two, ConfigError)
        three = await following((tmp_path / "second" / "config.conf").unlink)
        assert isinstance(three, ConfigError)
        four = await following(lambda: swap("first"))
        assert isinstance(four, Read)
        assert four.configuration.own.zone == "a"

    asyncio.run(follow())
