"""TLS contexts from certificates that may change on disk while we run.

Each new connection looks at the files again. What is half written, or broken, leaves the last
good context in force.

Not here: what OpenSSL's complaints mean to an operator (``trouble.py``).
"""

from __future__ import annotations

import asyncio.sslproto
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Cluster, KeyPair, Pem
from netproxy.kubernetes.certificate import expiry
from netproxy.log import EventLogger

log = EventLogger(__name__)

READ_SIZE = 32 * 1024
"""asyncio's buffer for each TLS connection, in bytes: two records; its own choice is 256 KiB."""
_NOT_OURS = "the certificate authority of the kubeconfig's cluster, as PEM"


def use_small_buffers() -> None:
    """Have asyncio keep 32 KiB rather than 256 KiB for each TLS connection, in this process.

    The attribute is private: where it is missing or something else, nothing is done.
    """
    protocol = asyncio.sslproto.SSLProtocol
    if isinstance(getattr(protocol, "max_size", None), int):
        protocol.max_size = min(protocol.max_size, READ_SIZE)


class _State(NamedTuple):
    """Which files a context was made of; changes whenever one of them does."""

    pair: KeyPair | None
    files: tuple[tuple[int, int, int], ...]


class TlsContexts:
    """The context for new connections to one API server.

    Args:
        cluster: How to recognise the server.
        now: Seconds since 1970.
    """

    def __init__(self, cluster: Cluster, now: Callable[[], float]) -> None:
        self._cluster = cluster
        self._now = now
        self._state: _State | None = None
        self._refused: _State | None = None
        self._context: ssl.SSLContext | None = None
        self._end: datetime | None = None

    def expired(self) -> datetime | None:
        """Since when the client certificate that is in use is valid no more; None: it is."""
        is_over = self._end is not None and self._end <= datetime.fromtimestamp(self._now(), UTC)
        return self._end if is_over else None

    def get(self, pair: KeyPair | None) -> ssl.SSLContext:
        """The context to show a client certificate with, or none.

        The same object as long as nothing changed, so that connections can be kept.

        Raises:
            ConfigError: a certificate or key cannot be used, and there is no older one.
        """
        state = self._look(pair)
        if self._context is not None and state in (self._state, self._refused):
            return self._context
        try:
            context = self._make(pair)
        except ConfigError as error:
            if self._context is None or (self._state and self._state.pair != pair):
                raise
            self._refused = state
            log.warning("certificates not reloaded", error=error.message, hint=error.hint)
            return self._context
        if self._context is not None and self._state and self._state.pair == pair:
            log.info("certificates reloaded", source=self._cluster.server)
        self._context, self._state, self._refused = context, state, None
        return context

    def _look(self, pair: KeyPair | None) -> _State:
        pems = [self._cluster.ca, *(pair or ())]
        return _State(pair, tuple(_identity(pem) for pem in pems if pem and pem.path))

    def _make(self, pair: KeyPair | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["http/1.1"])
        if self._cluster.is_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            _trust(context, self._cluster.ca)
        self._end = None if pair is None else _show(context, pair, self._now())
        return context


def _trust(context: ssl.SSLContext, ca: Pem | None) -> None:
    # As Go does: whatever is in the file is trusted, also if it is no root, and names of
    # servers stand in the place that is made for them. Clusters' own authorities are seldom strict.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    if ca is None:
        context.load_default_certs()
        return
    text = _read(ca, _NOT_OURS)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        problem = "has no certificate in it that can be used"
        raise ConfigError(setting=_named(ca), problem=problem, hint=f"put {_NOT_OURS}") from error


def _show(context: ssl.SSLContext, pair: KeyPair, now: float) -> datetime:
    """Load a client certificate; returns when it ends."""
    certificate = _read(pair.certificate, "the client certificate, as PEM")
    key = _read(pair.key, "the client key, as PEM")
    try:
        end = expiry(certificate)
    except ValueError as error:
        raise ConfigError(
            setting=_named(pair.certificate),
            problem=f"has {error} in it",
            hint="put the client certificate, as PEM",
        ) from error
    if end <= datetime.fromtimestamp(now, UTC):
        raise ConfigError(
            setting=_named(pair.certificate),
            problem=f"the client certificate expired at {end:%Y-%m-%dT%H:%M:%SZ}",
            hint="have a new one signed, or look at this host's clock",
        )
    with _as_file(certificate) as certificate_path, _as_file(key) as key_path:
        try:
            context.load_cert_chain(certificate_path, key_path, password=_Encrypted.ask)
        except _Encrypted as error:
            problem = "the key is encrypted, and nobody is there to ask for the password"
            raise ConfigError(setting=_named(pair.key), problem=problem) from error
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                setting=_named(pair.key),
                problem=_key_trouble(error),
                hint="put the key that belongs to the client certificate, as PEM",
            ) from error
    return end


def _key_trouble(error: Exception) -> str:
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the client certificate"
    return "no private key that can be used"


class _Encrypted(Exception):
    """A key wants a password."""

    @classmethod
    def ask(cls) -> str:
        """What OpenSSL calls for a password, instead of asking at the terminal."""
        raise cls


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """A path for libraries that want one. The text stays in memory."""
    descriptor = os.memfd_create("netproxy")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _read(pem: Pem, what: str) -> str:
    if pem.path is None:
        return pem.text.reveal()
    try:
        return pem.path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise ConfigError(setting=_named(pem), problem=problem, hint=f"put {what}") from error


def _named(pem: Pem) -> str:
    return pem.setting if pem.path is None else f"{pem.setting} ({pem.path})"


def _identity(pem: Pem) -> tuple[int, int, int]:
    assert pem.path is not None
    try:
        found = pem.path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)
