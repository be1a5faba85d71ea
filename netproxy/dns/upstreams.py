"""Which servers know the rest of the world: from a setting, or from resolv.conf as it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from netproxy.errors import ConfigError
from netproxy.log import EventLogger
from netproxy.model.ip import IPAddress, parse_address

DNS_PORT = 53
LOOK_AGAIN_S = 5.0
"""Between looks at whether resolv.conf has changed."""
_HINT = "an address, maybe with a port: 192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:53"

log = EventLogger(__name__)


class Upstream(NamedTuple):
    """A server that is asked."""

    host: IPAddress
    port: int = DNS_PORT
    scope: str = ""
    """The interface of a link-local address."""

    def __str__(self) -> str:
        host = f"{self.host}%{self.scope}" if self.scope else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def parse_upstream(text: str, setting: str = "--dns-upstream") -> Upstream:
    """Reads an upstream as people write it.

    Example:
        >>> [str(parse_upstream(text)) for text in ("192.0.2.1", "[fe80::1%eth0]:5353", "::1")]
        ['192.0.2.1:53', '[fe80::1%eth0]:5353', '[::1]:53']

    Raises:
        ConfigError: it is none.
    """
    host, port = text, str(DNS_PORT)
    if text.startswith("["):
        host, end, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest or not end else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    host, _, scope = host.partition("%")
    try:
        address = parse_address(host)
        number = int(port) if port.isascii() and port.isdigit() else 0
        if not 0 < number < 65536:
            raise ValueError(f"{port!r} is no port")
    except ValueError as error:
        raise ConfigError(setting=setting, problem=str(error), hint=_HINT) from error
    return Upstream(address, number, scope)


def nameservers(text: str) -> tuple[Upstream, ...]:
    """The servers in a resolv.conf, in order; lines that make no sense are passed over.

    Source: resolv.conf(5).
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            host, _, scope = words[1].partition("%")
            try:
                found.append(Upstream(parse_address(host), DNS_PORT, scope))
            except ValueError:
                continue
    return tuple(dict.fromkeys(found))


class ResolvConf:
    """The servers of this host.

    Args:
        path: Mostly ``/etc/resolv.conf``.
        now: Seconds.
    """

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._now = now
        self._next_look = 0.0
        self._version: tuple[int, int, int] | None = None
        self._servers: tuple[Upstream, ...] = ()

    def __call__(self) -> Sequence[Upstream]:
        """The servers now. While the file cannot be read, those of before."""
        now = self._now()
        if now >= self._next_look:
            self._next_look = now + LOOK_AGAIN_S
            try:
                about = self._path.stat()
                version = (about.st_mtime_ns, about.st_ino, about.st_size)
                if version != self._version:
                    self._servers = nameservers(self._path.read_text(errors="replace"))
                    self._version = version
                    log.info(
                        "upstreams read",
                        path=str(self._path),
                        upstreams=",".join(map(str, self._servers)),
                    )
            except OSError as error:
                if self._version is not None or not self._servers:
                    log.warning("cannot read upstreams", path=str(self._path), error=str(error))
                self._version = None
        return self._servers
