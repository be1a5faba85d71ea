"""Who may ask: bearer tokens and client certificates, made at the first start.

Everybody who is known may do everything: there is one administrator, and nodes that he has given
their kubeconfig. Nobody else is let in, not even to ask for the version.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from netproxy.api.status import StatusError
from netproxy.apiserver.pki import write_private
from netproxy.web import Inquiry

ADMIN = "kubernetes-admin"
NODES = "system:nodes"
_TOKEN_BYTES = 32


class Tokens(NamedTuple):
    """Who has which bearer token."""

    admin: str
    nodes: str


def ensure_tokens(path: Path) -> Tokens:
    """Read the tokens, or make them.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it is none of ours.
    """
    if path.exists():
        said = json.loads(path.read_bytes())
        try:
            return Tokens(str(said[ADMIN]), str(said[NODES]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: has no tokens of {ADMIN} and {NODES}") from error
    tokens = Tokens(secrets.token_urlsafe(_TOKEN_BYTES), secrets.token_urlsafe(_TOKEN_BYTES))
    write_private(path, json.dumps({ADMIN: tokens.admin, NODES: tokens.nodes}).encode())
    return tokens


class Gate:
    """Knows who asks.

    Args:
        tokens: Who has which.
    """

    def __init__(self, tokens: Tokens) -> None:
        # Digests, so that comparing takes the same time wherever a wrong token differs.
        self._users: Mapping[bytes, str] = {
            _digest(tokens.admin): ADMIN,
            _digest(tokens.nodes): NODES,
        }

    def user(self, inquiry: Inquiry) -> str:
        """The name of who asks.

        Raises:
            StatusError: 401, nobody whom we know.
        """
        if inquiry.is_local:
            return ADMIN
        kind, _, token = inquiry.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            shown = _digest(token.strip())
            for known, user in self._users.items():
                if hmac.compare_digest(known, shown):
                    return user
        else:
            for name, value in inquiry.certificate:
                if name == "commonName":
                    return value
        raise StatusError(401, "Unauthorized", "Unauthorized")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def kubeconfig(server: str, authority: bytes, user: str, token: str) -> bytes:
    """A kubeconfig with everything in it, as JSON, which is YAML."""
    import base64

    said = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "netproxy",
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority).decode(),
                },
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [
            {"name": "netproxy", "context": {"cluster": "netproxy", "user": user}},
        ],
        "current-context": "netproxy",
        "preferences": {},
    }
    return json.dumps(said, indent=2).encode() + b"\n"
