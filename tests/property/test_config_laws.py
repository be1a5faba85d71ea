"""Any file is a configuration or a ConfigError, and what is written is read as the same."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netproxy.cli import settings as words
from netproxy.cli.run import run
from netproxy.config.encode import encode
from netproxy.config.kubeproxy import KubeProxyConfiguration, NetproxyConfiguration
from netproxy.config.settings import Settings
from netproxy.config_file import read_config_file, write_config_file
from netproxy.errors import ConfigError
from tests.unit.config.configurations import KUBE_FIELDS, OWN_FIELDS, document, settings_of

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**500, max_value=10**600)
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["", "1m", "0s", "-1h", "10.0.0.1", "::/0", "[::]:1", "json", "primary", "64Ki"]
    )
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def fields_of(paths: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(paths)), anything, max_size=5)


def settings_or_mistake(read: Callable[[], Settings]) -> Settings | ConfigError:
    try:
        return read()
    except ConfigError as error:
        return error


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@given(kube=fields_of(KUBE_FIELDS), own=fields_of(OWN_FIELDS))
def test_any_value_of_any_field_is_taken_or_refused(
    directory: Path, kube: dict[str, Any], own: dict[str, Any]
) -> None:
    path = directory / "any.yaml"
    documents = [document(KubeProxyConfiguration, **kube), document(NetproxyConfiguration, **own)]
    with contextlib.suppress(UnicodeEncodeError, ValueError):  # no such file can be written
        path.write_text(yaml.safe_dump_all(documents, allow_unicode=True))
    settings = settings_or_mistake(lambda: settings_of(path))
    if isinstance(settings, ConfigError):
        assert str(path) in settings.message
    else:
        assert settings.proxy.node_name
        assert settings.min_sync_period_s <= settings.sync_period_s


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_taken_or_refused(directory: Path, data: bytes) -> None:
    path = directory / "bytes.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"bytes\.yaml"):
        settings_of(path)


durations = st.sampled_from(["0s", "1ms", "1.5s", "90s", "1h30m", "100us"])
addresses = st.sampled_from(["192.0.2.1", "fd00::1"])
prefixes = st.sampled_from(["10.0.0.0/8", "fd00::/64", "192.0.2.0/24"])
VALID: dict[str, st.SearchStrategy[Any]] = {
    "bindAddress": addresses,
    "clientConnection.burst": st.integers(0, 99),
    "clientConnection.kubeconfig": st.text(st.characters(codec="utf-8"), max_size=9),
    "clientConnection.qps": st.floats(allow_nan=False, allow_infinity=False),
    "clusterCIDR": prefixes,
    "conntrack.maxPerCore": st.integers(0, 9),
    "conntrack.tcpBeLiberal": st.booleans(),
    "conntrack.tcpEstablishedTimeout": durations,
    "conntrack.udpTimeout": durations,
    "featureGates": st.dictionaries(st.sampled_from(["A", "WinDSR"]), st.booleans()),
    "healthzBindAddress": st.sampled_from(["", "192.0.2.1", "[::]:9"]),
    "hostnameOverride": st.sampled_from(["", "n", "On.Off", "1e3", "null", "0x1"]),
    "iptables.masqueradeAll": st.booleans(),
    "iptables.masqueradeBit": st.integers(0, 31),
    "iptables.syncPeriod": st.sampled_from(["0s", "1h", "90m"]),
    "ipvs.scheduler": st.sampled_from(["", "rr", "yes"]),
    "logging.format": st.sampled_from(["text", "json"]),
    "logging.verbosity": st.integers(0, 10),
    "mode": st.sampled_from(["", "nftables", "iptables"]),
    "nftables.masqueradeAll": st.booleans(),
    "nftables.minSyncPeriod": durations.filter(lambda text: "h" not in text and text != "90s"),
    "nodePortAddresses": st.lists(prefixes, max_size=2) | st.just(["primary"]),
    "oomScoreAdj": st.none() | st.integers(-1000, 1000),
}
VALID_OWN: dict[str, st.SearchStrategy[Any]] = {
    "fullSyncPeriod": durations.filter(lambda text: text != "0s"),
    "logVerbosity": st.integers(0, 9),
    "master": st.sampled_from(["", "https://192.0.2.1"]),
    "minSyncPeriod": st.sampled_from(["0s", "1s"]),
    "nodeIPs": st.lists(addresses, max_size=2),
    "serveHealth": st.booleans(),
    "serveMetrics": st.booleans(),
    "takeOver": st.booleans(),
    "zone": st.text(st.characters(codec="utf-8"), max_size=9),
}


def valid(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


@given(kube=valid(VALID), own=valid(VALID_OWN))
def test_what_is_written_is_read_as_the_same(
    directory: Path, kube: dict[str, Any], own: dict[str, Any]
) -> None:
    first, second = directory / "first.yaml", directory / "second.yaml"
    documents = [document(KubeProxyConfiguration, **kube), document(NetproxyConfiguration, **own)]
    first.write_text(yaml.safe_dump_all(documents, allow_unicode=True), encoding="utf-8")
    read = read_config_file(str(first))
    write_config_file(str(second), read.configuration)
    again = read_config_file(str(second))
    assert settings_of(second) == settings_of(first)
    assert encode(again.configuration) == encode(read.configuration)
    assert not [each for each in again.warnings if "no such field" in each.problem]


FLAGS = sorted(
    parameter.opts[0]
    for parameter in run.params
    if parameter.expose_value and parameter.opts[0] not in ("--filename", "--config")
)
MEANINGFUL = st.sampled_from(
    ["0", "1", "3", "true", "false", "1s", "0s", "", "192.0.2.1", "[::1]:9", "10.0.0.0/8", "json"]
)


@given(st.dictionaries(st.sampled_from(FLAGS), MEANINGFUL | st.text(max_size=5), max_size=4))
def test_any_words_of_flags_are_taken_or_refused_and_survive_a_file(
    directory: Path, flags: dict[str, str]
) -> None:
    arguments = [f"{flag}={word}" for flag, word in flags.items()]
    try:
        context = run.make_context("run", ["--hostname-override=n", *arguments])
    except (click.ClickException, click.exceptions.Exit):
        return  # a switch that takes no word, a choice that there is not
    settings = settings_or_mistake(lambda: words.read_settings(context.params))
    if isinstance(settings, ConfigError):
        assert settings.message.startswith("-"), "every line begins with a flag"
        return
    path = directory / "flags.yaml"
    write_config_file(str(path), words.read_configuration(context.params))
    assert settings_of(path) == settings
