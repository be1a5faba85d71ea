"""What it takes to ask an API server: which one it is, how to know it, who to be.

Whatever may be secret is a ``Secret``, which does not show in messages, logs or representations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Secret:
    """Text that only those see who ask for it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; never for a message."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Pem(NamedTuple):
    """Certificates or a key as PEM text: in a file that may change, or said right away."""

    setting: str
    """Where it was configured, for messages: file and field."""
    path: Path | None
    text: Secret = Secret("")
    """Without a path."""


class KeyPair(NamedTuple):
    """A client certificate, with those that it depends on, and its key."""

    certificate: Pem
    key: Pem


class ExecPlugin(NamedTuple):
    """A program that says who we are."""

    setting: str
    command: str
    """Its path."""
    args: tuple[str, ...]
    env: Mapping[str, Secret]
    """In addition to our own."""
    api_version: str
    install_hint: str = ""
    cluster_info: Secret | None = None
    """What the program is told of the cluster, JSON; None: it did not ask."""


class Cluster(NamedTuple):
    """An API server and how to reach and recognise it."""

    setting: str
    server: str
    """URL with scheme and host, without a slash at the end."""
    ca: Pem | None = None
    """Who may vouch for the server; None: whom this host trusts."""
    is_insecure: bool = False
    """Do not look who it is."""
    tls_server_name: str = ""
    """The name to look for in its certificate, instead of the URL's."""
    proxy_url: Secret | None = None
    """May have a password in it. None: as the environment says."""
    disable_compression: bool = False


class User(NamedTuple):
    """Who to be. Without anything: nobody."""

    description: str
    """For messages, such as ``user "admin"``."""
    setting: str
    pair: KeyPair | None = None
    token: Secret | None = None
    token_file: Path | None = None
    """Read again as time goes by; wins over the token."""
    basic: tuple[str, Secret] | None = None
    """Name and password."""
    plugin: ExecPlugin | None = None
    """Asked only when there is nothing else."""
    impersonation: tuple[tuple[str, str], ...] = ()
    """Header fields that ask to act as somebody else."""

    def is_anonymous(self) -> bool:
        """Whether there is nothing to show."""
        return (self.pair, self.token, self.token_file, self.basic, self.plugin) == (None,) * 5


class Access(NamedTuple):
    """A user of a cluster, as a kubeconfig's context has it."""

    cluster: Cluster
    user: User
    namespace: str = ""
