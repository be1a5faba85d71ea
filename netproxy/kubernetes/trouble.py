"""What an operator reads when a server is not reached, not who it should be, or refuses us."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import datetime

from netproxy.errors import SourceError
from netproxy.kubernetes.access import Cluster, User

_UNKNOWN_ISSUER = {2, 7, 18, 19, 20, 21, 30}
"""OpenSSL's X509_V_ERR_…: no issuer found, bad signature, self-signed, other key."""
_NOT_YET_VALID, _EXPIRED = 9, 10
_WRONG_NAME = {62, 64}
_HINT_REACH = "is the server up, is the address right, does a firewall or proxy stand between?"
_HINT_PAIR = "have a new client certificate signed by an authority that the API server trusts"


def unreachable(cluster: Cluster, error: BaseException) -> SourceError:
    """What went wrong on the way to a server or while it answered, in words.

    Args:
        cluster: Whom we asked.
        error: What Python says, or the HTTP library in its stead.
    """
    match error:
        case ssl.SSLCertVerificationError():
            problem, hint = _unknown_server(cluster, error)
        case ssl.SSLError():
            problem, hint = _failed_handshake(error)
        case ConnectionRefusedError():
            problem, hint = "connection refused", _HINT_REACH
        case socket.gaierror():
            problem = f"the name is not found ({error.strerror})"
            hint = f"correct it in {cluster.setting}, or look at this host's resolver"
        case OSError(errno=int(number)):
            problem, hint = os.strerror(number).lower(), _HINT_REACH
        case _:
            problem, hint = str(error) or type(error).__name__, _HINT_REACH
    return SourceError(f"{cluster.server}: {problem}", hint=hint)


def silent(cluster: Cluster, problem: str) -> SourceError:
    """Nothing came in time."""
    return SourceError(f"{cluster.server}: {problem}", hint=_HINT_REACH)


def refused(cluster: Cluster, user: User, expired: datetime | None) -> SourceError:
    """The server answers 401: it does not know who asks, or no more.

    Args:
        cluster: Whom we asked.
        user: Who asked.
        expired: When the client certificate that we showed came to its end.
    """
    if user.plugin is not None:
        hint = f"log in again as {user.plugin.command} wants it"
    elif user.token_file is not None:
        hint = f"the token in {user.token_file} may have expired, or be another cluster's"
    elif user.token is not None or user.basic is not None:
        hint = f"what {user.setting} says may have expired, or be another cluster's"
    elif user.pair is not None:
        since = "" if expired is None else f", as ours expired at {expired:%Y-%m-%dT%H:%M:%SZ}"
        hint = _HINT_PAIR + since
    else:
        hint = "give the kubeconfig's user a token or a client certificate"
    return SourceError(
        f"{cluster.server}: does not accept {user.description} ({user.setting}): 401 Unauthorized",
        hint=hint,
    )


def _unknown_server(cluster: Cluster, error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    if error.verify_code in _WRONG_NAME:
        return (
            f"its certificate is for somebody else: {error.verify_message}",
            "use a name that is in the certificate, or set tls-server-name",
        )
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return f"its certificate {when}", "renew it, or look at this host's clock"
    where = cluster.ca.setting if cluster.ca is not None else "this host's trusted authorities"
    if error.verify_code in _UNKNOWN_ISSUER:
        problem = f"its certificate is signed by nobody in {where} ({error.verify_message})"
    else:
        problem = f"its certificate is not good: {error.verify_message}"
    return problem, "configure the authority of this very cluster as certificate-authority"


def _failed_handshake(error: ssl.SSLError) -> tuple[str, str]:
    reason = error.reason or str(error)
    if reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}:
        return "does not speak TLS", "write http:// if that is meant, or another port"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        words = reason.partition("ALERT_")[2].replace("_", " ").lower()
        return f"does not accept our client certificate ({words})", _HINT_PAIR
    return f"TLS failed: {reason.replace('_', ' ').lower()}", _HINT_REACH
