"""Who we are at the API server, kept up to date: files that rotate, plugins whose words expire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import ExecPlugin, KeyPair, Secret, User
from netproxy.kubernetes.exec_plugin import Credential, run_plugin
from netproxy.log import EventLogger

log = EventLogger(__name__)

TOKEN_FILE_S = 60.0
"""For so many seconds a token is believed to be the file's."""


class Proof(NamedTuple):
    """What a request brings with it to show who asks."""

    authorization: Secret | None = None
    """The header field's value."""
    pair: KeyPair | None = None
    """The client certificate."""


class Credentials:
    """The proof for each request.

    Args:
        user: Who to be.
        now: Seconds since 1970.
        environ: For plugins.
    """

    def __init__(self, user: User, *, now: Callable[[], float], environ: Mapping[str, str]) -> None:
        self.user = user
        self._file = _TokenFile(user, user.token_file, now) if user.token_file else None
        is_alone = user._replace(plugin=None).is_anonymous()
        # As kubectl: a plugin is for those who have nothing else.
        self._plugin = _Plugin(user.plugin, now, environ) if user.plugin and is_alone else None

    def check(self) -> None:
        """Look whether there will be something to show.

        Raises:
            ConfigError: there will not.
        """
        if self._file is not None:
            self._file.get()

    async def get(self) -> Proof:
        """What to show now.

        Raises:
            SourceError: a plugin failed.
            ConfigError: a token file has never been readable.
        """
        if self._plugin is not None:
            said = await self._plugin.get()
            return Proof(_bearer(said.token), said.pair)
        token = self._file.get() if self._file is not None else self.user.token
        if token is None and self.user.basic is not None:
            name, password = self.user.basic
            text = base64.b64encode(f"{name}:{password.reveal()}".encode()).decode()
            return Proof(Secret(f"Basic {text}"), self.user.pair)
        return Proof(_bearer(token), self.user.pair)

    def refuse(self, proof: Proof) -> None:
        """The server did not want this proof: get another one next time, if there may be one."""
        if self._file is not None:
            self._file.forget()
        if self._plugin is not None:
            self._plugin.refuse(proof)


class _TokenFile:
    def __init__(self, user: User, path: Path, now: Callable[[], float]) -> None:
        self._setting = f"{user.setting}.tokenFile ({path})"
        self._path = path
        self._now = now
        self._token = user.token
        self._read_at: float | None = None

    def get(self) -> Secret:
        age = None if self._read_at is None else self._now() - self._read_at
        if age is not None and self._token is not None and 0 <= age < TOKEN_FILE_S:
            return self._token
        try:
            token = self._read()
        except ConfigError as error:
            if self._token is None:
                raise
            log.warning("token not read again", error=error.message, hint=error.hint)
        else:
            self._token = token
        self._read_at = self._now()
        return self._token

    def forget(self) -> None:
        self._read_at = None

    def _read(self) -> Secret:
        hint = "put a token there that this user may read"
        try:
            text = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
            raise ConfigError(setting=self._setting, problem=problem, hint=hint) from error
        except UnicodeDecodeError:
            text = ""
        if not text.isprintable() or not text or " " in text:
            raise ConfigError(setting=self._setting, problem="has no token in it", hint=hint)
        return Secret(text)


class _Plugin:
    """A plugin's word, for as long as it is good; many may ask at once, it is run once."""

    def __init__(
        self, plugin: ExecPlugin, now: Callable[[], float], environ: Mapping[str, str]
    ) -> None:
        self._plugin = plugin
        self._now = now
        self._environ = environ
        self._lock = asyncio.Lock()
        self._said: Credential | None = None

    async def get(self) -> Credential:
        async with self._lock:
            said = self._said
            if said is None or (said.expires is not None and said.expires <= self._now()):
                self._said = None
                self._said = said = await run_plugin(self._plugin, self._environ)
                log.debug("credential plugin answered", path=self._plugin.command)
            return said

    def refuse(self, proof: Proof) -> None:
        said = self._said
        # Somebody else may have had the same trouble before, and there is a new one already.
        if said is not None and proof == Proof(_bearer(said.token), said.pair):
            self._said = None


def _bearer(token: Secret | None) -> Secret | None:
    return None if token is None else Secret(f"Bearer {token.reveal()}")
