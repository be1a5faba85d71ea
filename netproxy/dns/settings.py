"""What an operator decides about cluster DNS."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from netproxy.dns.upstreams import Upstream
from netproxy.dns.zone import ZoneSettings
from netproxy.errors import ConfigError
from netproxy.model.ip import Prefix, parse_prefix
from netproxy.web import Place

PRIVATE = tuple(
    parse_prefix(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
"""Who cannot be a stranger from the internet, whose address may also be forged."""


class DnsSettings(NamedTuple):
    """Where names are served, to whom, and which."""

    places: tuple[Place, ...]
    """Addresses and ports, for UDP and TCP both. ``0.0.0.0`` and ``::`` are one family each."""
    zone: ZoneSettings = ZoneSettings()
    upstreams: tuple[Upstream, ...] | None = None
    """Who knows all other names; None: who stands in ``resolv_conf``; empty: there are none."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    clients: tuple[Prefix, ...] = PRIVATE
    """Who is answered; strangers could use us against others."""
    cache_entries: int = 10_000
    cache_bytes: int = 32 * 1024 * 1024
    """Memory for answers of upstreams, about."""

    def check(self) -> None:
        """See that all of it is possible.

        Raises:
            ConfigError: it is not.
        """
        from netproxy.dns.zone import Zone

        try:
            Zone(self.zone)
        except ValueError as error:
            hint = "a domain name such as cluster.local"
            raise ConfigError(setting="--dns-zone", problem=str(error), hint=hint) from error
        if not 0 <= self.zone.ttl_s <= 3600:
            raise ConfigError(
                setting="--dns-ttl",
                problem=f"{self.zone.ttl_s} is out of range",
                hint="0 to 3600 seconds",
            )
