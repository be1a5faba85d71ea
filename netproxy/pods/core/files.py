"""What a Pod's containers find in ``/etc``: resolv.conf, hosts, hostname.

Source: core/v1 PodSpec (dnsPolicy, dnsConfig, hostAliases, hostname, subdomain), resolv.conf(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.pods.core.model import is_on_host_network

_NDOTS = "ndots:5"
"""So that ``db.other-namespace.svc`` is looked for among the cluster's names first."""
_HEAD = "# Written by netproxy for this Pod.\n"


class Resolver(NamedTuple):
    """Whom to ask for names, and how."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"nameserver {each}\n" for each in self.servers]
        lines += [f"search {' '.join(self.searches)}\n"] if self.searches else []
        lines += [f"options {' '.join(self.options)}\n"] if self.options else []
        return _HEAD + "".join(lines)


def parse_resolver(text: str) -> Resolver:
    """What a resolv.conf says; of several ``search`` lines the last one counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        match line.split("#")[0].split():
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *names]:
                searches = tuple(names)
            case ["options", *words]:
                options += words
    return Resolver(tuple(servers), searches, tuple(options))


def resolver_of(pod: Object, host: Resolver, dns_addresses: Sequence[str], domain: str) -> Resolver:
    """Whom a Pod asks.

    Args:
        pod: As the API has it.
        host: Whom its host asks.
        dns_addresses: The cluster's DNS; empty: there is none.
        domain: The cluster's.
    """
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and is_on_host_network(pod):
        policy = "Default"
    if policy == "None":
        chosen = Resolver()
    elif policy == "Default" or not dns_addresses:
        chosen = host
    else:
        namespace = pod["metadata"]["namespace"]
        own = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
        others = tuple(each for each in host.searches if each not in own)
        chosen = Resolver(tuple(dns_addresses), own + others, (_NDOTS,))
    return _merged(chosen, spec.get("dnsConfig") or {})


def _merged(chosen: Resolver, config: Object) -> Resolver:
    options = {each.partition(":")[0]: each for each in chosen.options}
    for each in config.get("options") or ():
        value = each.get("value")
        options[each["name"]] = f"{each['name']}:{value}" if value else each["name"]
    return Resolver(
        _unique([*chosen.servers, *(config.get("nameservers") or ())]),
        _unique([*chosen.searches, *(config.get("searches") or ())]),
        tuple(options.values()),
    )


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def hostname_of(pod: Object) -> str:
    """What the kernel calls the host in there: at most 63 characters.

    Source: the kubelet cuts the Pod's name in the same way.
    """
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")


def hosts_of(pod: Object, addresses: Iterable[str], domain: str) -> str:
    """The Pod's own names, those of loopback, and what it asks for."""
    spec, hostname = pod["spec"], hostname_of(pod)
    names = hostname
    if spec.get("subdomain"):
        namespace = pod["metadata"]["namespace"]
        names = f"{hostname}.{spec['subdomain']}.{namespace}.svc.{domain} {hostname}"
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{each} {names}" for each in addresses]
    lines += [
        f"{each['ip']} {' '.join(each.get('hostnames') or ())}"
        for each in spec.get("hostAliases") or ()
    ]
    return _HEAD + "".join(f"{each}\n" for each in lines)
