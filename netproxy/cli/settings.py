"""What the words of flags mean. A wrong one names the flag, the word and the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from netproxy.core.config import DetectLocalMode, ProxyConfig, ProxyMode
from netproxy.errors import ConfigError
from netproxy.model.ip import IPAddress, Prefix, parse_address, parse_prefix

if TYPE_CHECKING:
    from netproxy.sync import Periods

Flags = Mapping[str, Any]
"""What click collected: words, tuples of words and booleans."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRACE_VERBOSITY = 9


def read_proxy_config(flags: Flags) -> ProxyConfig:
    """The settings that the flags spell.

    Raises:
        ConfigError: a flag's word makes no sense.
    """
    mode = _read_detect_local_mode(flags)
    words = _words(flags["nodeport_addresses"])
    return ProxyConfig(
        node_name=_read_node_name(flags["hostname_override"]),
        node_ips=_read_node_ips(flags["node_ip"]),
        zone=flags["zone"] or "",
        service_cidrs=_read_prefixes("--service-cidr", flags["service_cidr"]),
        cluster_cidrs=_one_per_family(
            "--cluster-cidr", _read_prefixes("--cluster-cidr", flags["cluster_cidr"])
        ),
        detect_local_mode=mode,
        pod_bridge_interface=flags["pod_bridge_interface"] or "",
        pod_interface_name_prefix=flags["pod_interface_name_prefix"] or "",
        masquerade_all=read_switch("--masquerade-all", flags["masquerade_all"]),
        masquerade_bit=_read_bit(flags["masquerade_bit"]),
        nodeport_addresses=_read_nodeport_addresses(words),
        nodeport_primary="primary" in words,
        localhost_nodeports=read_switch(
            "--iptables-localhost-nodeports", flags["localhost_nodeports"]
        ),
        mode=_read_mode(flags["proxy_mode"]),
        iptables_variant=_read_variant(flags["iptables_variant"]),
    )


_SWITCHES = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
"""Source: Go, strconv.ParseBool."""


def read_switch(setting: str, word: str) -> bool:
    """Whether a flag is on.

    Raises:
        ConfigError: the word is neither true nor false.
    """
    if word.lower() not in _SWITCHES:
        raise ConfigError(
            setting=setting, problem=f"{word!r} is neither true nor false", hint=f"{setting}=true"
        )
    return _SWITCHES[word.lower()]


def read_periods(flags: Flags) -> Periods:
    """How often to sync.

    Raises:
        ConfigError: a flag's word makes no sense, or two of them contradict each other.
    """
    from netproxy.sync import Periods

    limit_s = read_duration("--sync-period", flags["sync_period"])
    full_s = read_duration("--full-sync-period", flags["full_sync_period"])
    min_s = read_duration("--min-sync-period", flags["min_sync_period"])
    for setting, seconds in (("--sync-period", limit_s), ("--full-sync-period", full_s)):
        if seconds <= 0:
            raise ConfigError(
                setting=setting, problem="must be more than 0", hint="for example 30s"
            )
    if min_s > limit_s:
        raise ConfigError(
            setting="--min-sync-period",
            problem=f"{min_s:g} s is longer than --sync-period, {limit_s:g} s",
            hint="make it shorter, or --sync-period longer",
        )
    return Periods(min_s=min_s, retry_limit_s=limit_s, full_s=full_s)


def read_duration(setting: str, text: str) -> float:
    """Seconds, from a duration as Go writes it.

    Raises:
        ConfigError: the text is none.

    Example:
        >>> read_duration("--sync-period", "1m30s"), read_duration("--min-sync-period", "100ms")
        (90.0, 0.1)
    """
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(
            setting=setting, problem=f"{text!r} is not a duration", hint="for example 100ms, 1m30s"
        )
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def read_verbosity(flags: Flags) -> int | None:
    """The level of ``-v``, ``-vv``, ``-v 4``, ``-v4``, ``--v=4``; None without it.

    Raises:
        ConfigError: it is no number.
    """
    word = flags["verbosity"]
    if word is None:
        return None
    if word and not word.strip("v"):
        return _TRACE_VERBOSITY
    word = word.removeprefix("=")
    if not (word.isascii() and word.isdigit()):
        raise ConfigError(setting="-v", problem=f"{word!r} is not a level", hint="0 to 9, as -v 4")
    return int(word)


def require_filenames(flags: Flags) -> tuple[str, ...]:
    """The manifests to read.

    Raises:
        ConfigError: none are named.
    """
    filenames: tuple[str, ...] = flags["filename"]
    if not filenames:
        raise ConfigError(
            setting="--filename",
            problem="nothing to read",
            hint="name a file, a directory or - with -f",
        )
    return filenames


def _read_mode(word: str) -> ProxyMode:
    modes = {mode.value: mode for mode in ProxyMode}
    if word not in modes:
        raise ConfigError(
            setting="--proxy-mode",
            problem=f"there is no mode {word!r}",
            hint=f"one of {', '.join(modes)}; kube-proxy's ipvs mode is deprecated",
        )
    return modes[word]


def _read_variant(word: str) -> str:
    variants = ("auto", "legacy", "nft")
    if word not in variants:
        raise ConfigError(
            setting="--iptables-variant",
            problem=f"there is no variant {word!r}",
            hint=f"one of {', '.join(variants)}",
        )
    return word


def _read_node_name(override: str | None) -> str:
    """Source: kube-proxy 1.36, nodeutil.GetHostname: trimmed and in lower case."""
    import socket

    name = (override if override is not None else socket.gethostname()).strip().lower()
    if not name or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) or len(name) > 253:
        raise ConfigError(
            setting="--hostname-override",
            problem=f"{name!r} cannot be the name of a node",
            hint="letters, digits, - and . as in: node-1.example",
        )
    return name


def _words(values: Iterable[str]) -> list[str]:
    """Words of a flag that may be repeated or hold a comma-separated list."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def _read_prefixes(setting: str, values: Iterable[str]) -> tuple[Prefix, ...]:
    prefixes = []
    for word in _words(values):
        try:
            prefixes.append(parse_prefix(word))
        except ValueError as error:
            raise ConfigError(
                setting=setting, problem=str(error), hint="for example 10.244.0.0/16 or fd00::/64"
            ) from None
    return tuple(dict.fromkeys(prefixes))


def _one_per_family(setting: str, prefixes: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
    if len({prefix.family for prefix in prefixes}) < len(prefixes):
        raise ConfigError(
            setting=setting,
            problem=f"{','.join(map(str, prefixes))} has more than one prefix of an IP family",
            hint="give one IPv4 prefix, one IPv6 prefix, or one of each",
        )
    return prefixes


def _read_node_ips(values: Iterable[str]) -> tuple[IPAddress, ...]:
    addresses = []
    for word in _words(values):
        try:
            addresses.append(parse_address(word))
        except ValueError as error:
            raise ConfigError(
                setting="--node-ip", problem=str(error), hint="for example 192.0.2.10"
            ) from None
    return tuple(dict.fromkeys(addresses))


def _read_bit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 31):
        raise ConfigError(
            setting="--iptables-masquerade-bit",
            problem=f"{text!r} is not a bit of a 32-bit mark",
            hint="a number from 0 to 31",
        )
    return int(text)


def _read_nodeport_addresses(words: list[str]) -> tuple[Prefix, ...]:
    if "primary" not in words:
        return _read_prefixes("--nodeport-addresses", words)
    if len(words) > 1:
        raise ConfigError(
            setting="--nodeport-addresses",
            problem="primary stands alone",
            hint="give prefixes, or only the word primary",
        )
    return ()


def _read_detect_local_mode(flags: Flags) -> DetectLocalMode:
    word = flags["detect_local_mode"]
    modes = {mode.value: mode for mode in DetectLocalMode}
    if word not in modes:
        raise ConfigError(
            setting="--detect-local-mode",
            problem=f"there is no mode {word!r}",
            hint=f"one of {', '.join(modes)}",
        )
    mode = modes[word]
    if mode is DetectLocalMode.BRIDGE_INTERFACE:
        _check_interface("--pod-bridge-interface", flags["pod_bridge_interface"], mode)
    elif mode is DetectLocalMode.INTERFACE_NAME_PREFIX:
        _check_interface("--pod-interface-name-prefix", flags["pod_interface_name_prefix"], mode)
    return mode


def _check_interface(setting: str, name: str | None, mode: DetectLocalMode) -> None:
    """Narrower than the kernel, which takes nearly any bytes: a * would be a wildcard in nft."""
    if not name:
        raise ConfigError(
            setting=setting,
            problem=f"is needed for --detect-local-mode {mode.value}",
            hint=f"for example {setting} cni0",
        )
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,15}", name):
        raise ConfigError(
            setting=setting,
            problem=f"{name!r} cannot be the name of an interface",
            hint="at most 15 letters, digits, - _ @ or .",
        )
