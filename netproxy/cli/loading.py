"""What ``run`` goes by: flags alone, or a configuration file and the few flags that go with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import NamedTuple

import msgspec

from netproxy.cli import settings as words
from netproxy.cli.options import WITHOUT_EFFECT
from netproxy.cli.settings import Flags
from netproxy.config.decode import Configuration
from netproxy.config.settings import Settings, make_settings
from netproxy.config_file import Read, read_config_file, speller, watch_config_file
from netproxy.core.config import ProxyMode
from netproxy.errors import ConfigError
from netproxy.log import EventLogger

log = EventLogger(__name__)

_BESIDE_A_FILE = {
    "config",
    "filename",
    "dry_run",
    "output_format",
    "color",
    "hostname_override",
    "init_only",
    "cleanup",
    "write_config_to",
    "log_format",
    "logging_format",
    "verbosity",
}
"""Flags that count with ``--config``, too. Source: kube-proxy 1.36: logging and the node's name."""


class Loaded(NamedTuple):
    """What to do, and how it was said."""

    configuration: Configuration
    settings: Settings


class Loader:
    """Reads what ``run`` goes by, and reads it again when the file changes.

    Args:
        flags: What click collected.
        given: Names of the flags that somebody gave, on the command line or in the environment.
    """

    def __init__(self, flags: Flags, given: Collection[str]) -> None:
        self._flags = flags
        self._given = set(given)
        self.path: str | None = flags.get("config")

    def load(self) -> Loaded:
        """What the flags, or the file, say now.

        Raises:
            ConfigError: they make no sense.
        """
        if self.path is not None:
            return self._beside_flags(read_config_file(self.path))
        configuration = words.read_configuration(self._flags)
        settings = make_settings(
            configuration,
            hostname=words.hostname(),
            master=self._flags.get("master") or "",
            spell=words.flag_of,
        )
        return Loaded(configuration, settings)

    async def changes(self) -> AsyncIterator[Loaded | ConfigError]:
        """What the file says anew, or why that cannot be used; never anything without a file."""
        if self.path is None:
            return
        async for read in watch_config_file(self.path):
            if isinstance(read, ConfigError):
                yield read
                continue
            try:
                yield self._beside_flags(read)
            except ConfigError as error:
                yield error

    def say_what_has_no_effect(self, loaded: Loaded) -> None:
        """Log what the operator said in vain; once, when the log is configured."""
        for flag, reason in WITHOUT_EFFECT.items():
            if flag[2:].replace("-", "_") in self._given:
                log.warning("flag without effect", flag=flag, reason=reason)
        for gate, value in (loaded.configuration.kube.feature_gates or {}).items():
            log.warning("feature gate without effect", gate=gate, value=value)
        if self.path is None:
            return
        for name in sorted(self._given - _BESIDE_A_FILE):
            flag = "--" + name.replace("_", "-")
            log.warning("flag ignored", flag=flag, reason=f"{self.path} says everything")
        if not loaded.configuration.kube.mode:
            log.info(
                "mode not set",
                mode=ProxyMode.NFTABLES.value,
                hint="kube-proxy would use iptables; write mode: iptables to have the same",
            )

    def _beside_flags(self, read: Read) -> Loaded:
        assert self.path is not None
        for warned in read.warnings:
            log.warning("configuration", path=self.path, field=warned.field, error=warned.problem)
        kube = read.configuration.kube
        override = self._flags.get("hostname_override")
        verbosity = words.read_verbosity(self._flags)
        format_ = next(
            (self._flags[name] for name in ("logging_format", "log_format") if name in self._given),
            None,
        )
        replace = msgspec.structs.replace
        logging = replace(
            kube.logging,
            verbosity=kube.logging.verbosity if verbosity is None else verbosity,
            format=format_ or kube.logging.format,
        )
        kube = replace(kube, hostname_override=override or kube.hostname_override, logging=logging)
        configuration = read.configuration._replace(kube=kube)
        settings = make_settings(configuration, hostname=words.hostname(), spell=speller(self.path))
        return Loaded(configuration, settings)
