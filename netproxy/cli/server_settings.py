"""Flags → what the API server, its controllers and DNS go by."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from pathlib import Path

from netproxy.apiserver.instance import NODE_CONFIG, ServerSettings
from netproxy.apiserver.registry import PortRange, RegistrySettings
from netproxy.cli import settings as words
from netproxy.cli.settings import Flags
from netproxy.config.settings import make_settings
from netproxy.controllers.balancers import parse_pool
from netproxy.controllers.cluster import ControllerSettings
from netproxy.dns.settings import PRIVATE, DnsSettings
from netproxy.dns.upstreams import Upstream, parse_upstream
from netproxy.dns.zone import ZoneSettings
from netproxy.errors import ConfigError
from netproxy.kernel.addresses import primary_address
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.pods.core.environment import PATH
from netproxy.pods.settings import PodSettings
from netproxy.standalone import StandaloneSettings
from netproxy.web import Place

SERVICE_CIDR, CLUSTER_CIDR = "10.96.0.0/16", "10.244.0.0/16"
_LOOPBACK = "127.0.0.1"


def split(words: Iterable[str]) -> tuple[str, ...]:
    """Words that were given one by one or with commas."""
    return tuple(each.strip() for word in words for each in word.split(",") if each.strip())


def server_settings(flags: Flags) -> ServerSettings:
    """The API server.

    Raises:
        ConfigError: a flag makes no sense.
    """
    listen = tuple(_address("--api-address", each) for each in split(flags["api_address"]))
    listen = listen or (_address("--api-address", _LOOPBACK),)
    advertise = _advertised(flags, listen)
    cidrs = _prefixes("--service-cidr", flags["service_cidr"]) or (SERVICE_CIDR,)
    return ServerSettings(
        data_dir=Path(flags["data_dir"]),
        listen=listen,
        port=_port("--api-port", flags["api_port"], least=0),
        advertise=advertise,
        names=split(flags["api_name"]),
        domain=flags["cluster_domain"],
        registry=RegistrySettings(
            service_cidrs=cidrs, node_ports=_port_range(flags["service_node_port_range"])
        ),
    )


def controller_settings(flags: Flags) -> ControllerSettings:
    """The controllers.

    Raises:
        ConfigError: a flag makes no sense.
    """
    return ControllerSettings(
        cluster_cidrs=_prefixes("--cluster-cidr", flags["cluster_cidr"]) or (CLUSTER_CIDR,),
        pool=tuple(parse_pool(split(flags["load_balancer_pool"]))),
    )


def _advertised(flags: Flags, listen: tuple[IPAddress, ...]) -> IPAddress:
    if flags["advertise_address"]:
        return _address("--advertise-address", flags["advertise_address"])
    far = [each for each in listen if not ipaddress.ip_address(each).is_loopback]
    return far[0] if far else listen[0]


def _address(setting: str, word: str) -> IPAddress:
    try:
        return IPAddress(str(ipaddress.ip_address(word)))
    except ValueError:
        raise ConfigError(
            setting=setting, problem=f"{word} is no IP address", hint="such as 192.0.2.1"
        ) from None


def _prefixes(setting: str, words: Iterable[str]) -> tuple[str, ...]:
    """One prefix, or one of each family."""
    found = split(words)
    for each in found:
        try:
            ipaddress.ip_network(each)
        except ValueError as error:
            raise ConfigError(
                setting=setting, problem=str(error), hint="such as 10.96.0.0/16"
            ) from None
    if len({":" in each for each in found}) != len(found):
        raise ConfigError(
            setting=setting,
            problem="has several prefixes of one IP family",
            hint="give one, or one of IPv4 and one of IPv6",
        )
    return found


def _port(setting: str, word: str, least: int = 1) -> int:
    if word.isascii() and word.isdigit() and least <= int(word) <= 65535:
        return int(word)
    raise ConfigError(
        setting=setting, problem=f"{word} is no port", hint=f"a number from {least} to 65535"
    )


def _port_range(word: str) -> PortRange:
    first, dash, last = word.partition("-")
    setting = "--service-node-port-range"
    if not dash:
        hint = "FIRST-LAST, such as 30000-32767"
        raise ConfigError(setting=setting, problem=f"{word} is no range", hint=hint)
    found = PortRange(_port(setting, first.strip()), _port(setting, last.strip()))
    if found.first > found.last:
        hint = "put the smaller number first"
        raise ConfigError(setting=setting, problem=f"{word} goes backwards", hint=hint)
    return found


def standalone_settings(flags: Flags) -> StandaloneSettings:
    """All of it, on one node.

    Raises:
        ConfigError: a flag makes no sense.
    """
    server, controllers = server_settings(flags), controller_settings(flags)
    families = [
        Family.IPV6 if ":" in each else Family.IPV4 for each in server.registry.service_cidrs
    ]
    node_ips = split(flags["node_ip"])
    if not node_ips:
        found = [primary_address(each) for each in families]
        node_ips = tuple(each for each in found if each is not None)
    # This node's proxy asks as any other node's does, and knows what is known here already.
    asked = {
        **flags,
        "kubeconfig": str(server.data_dir / NODE_CONFIG),
        "service_cidr": server.registry.service_cidrs,
        "cluster_cidr": controllers.cluster_cidrs,
        "node_ip": node_ips,
        "filename": (),
    }
    configuration = words.read_configuration(asked)
    settings = make_settings(configuration, hostname=words.hostname(), spell=words.flag_of)
    addresses = tuple(_address("--node-ip", each) for each in node_ips)
    dns = _dns_settings(flags, server, node_ips, controllers.cluster_cidrs)
    pods = None
    if words.read_switch("--run-pods", flags["run_pods"]):
        name = settings.proxy.node_name
        served = (server.registry.dns_address,) if dns is not None else ()
        pods = pod_settings({**flags, "cluster_dns": served}, name, addresses)
    return StandaloneSettings(
        server=server,
        controllers=controllers,
        configuration=configuration,
        proxy=settings,
        node_ips=addresses,
        dns=dns,
        pods=pods,
    )


def pod_settings(flags: Flags, node_name: str, addresses: tuple[IPAddress, ...]) -> PodSettings:
    """How a node runs Pods.

    Args:
        flags: What click collected.
        node_name: Which node.
        addresses: Of it.

    Raises:
        ConfigError: a flag makes no sense, or the host has no address.
    """
    if not addresses:
        raise ConfigError(
            setting="--run-pods",
            problem="this host has no address by which other nodes reach it",
            hint="give one with --node-ip",
        )
    return PodSettings(
        node_name,
        addresses,
        Path(flags["data_dir"]),
        tuple(_address("--cluster-dns", each) for each in split(flags["cluster_dns"])),
        flags["cluster_domain"],
        flags["pod_namespace_prefix"],
        # What is installed beside this program can be run, too: netproxy itself.
        path=f"{PATH}:{Path(sys.executable).parent}",
    )


def host_addresses() -> tuple[IPAddress, ...]:
    """Those from which this host speaks to the world."""
    found = [primary_address(each) for each in Family]
    return tuple(each for each in found if each is not None)


def _upstreams(listed: tuple[str, ...]) -> tuple[Upstream, ...] | None:
    if listed == ("none",):
        return ()
    return tuple(parse_upstream(each) for each in listed) or None


def _dns_settings(
    flags: Flags, server: ServerSettings, node_ips: Iterable[str], cluster_cidrs: Iterable[str]
) -> DnsSettings | None:
    """None: it is switched off.

    Raises:
        ConfigError: a flag makes no sense, or the host has no address.
    """
    if not words.read_switch("--dns", flags["dns"]):
        return None
    listed = split(flags["dns_upstream"])
    port = _port("--dns-port", flags["dns_port"])
    addresses = tuple(_address("--node-ip", each) for each in node_ips)
    places = tuple(Place(each, port) for each in addresses)
    if not places:
        raise ConfigError(
            setting="--dns",
            problem="this host has no address at which it could be served",
            hint="give one with --node-ip, or go without: --dns=false",
        )
    # Hosts with public addresses ask from them; what is not the cluster's has no business here.
    own = [parse_prefix(f"{each}/{128 if ':' in each else 32}") for each in addresses]
    own += [parse_prefix(each) for each in cluster_cidrs]
    settings = DnsSettings(
        places=places,
        zone=ZoneSettings(name=server.domain),
        upstreams=_upstreams(listed),
        clients=(*PRIVATE, *own),
    )
    settings.check()
    return settings
