"""What ``run`` goes by: flags alone, or a configuration file and the few flags that go with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import msgspec

from netproxy.cli import settings as words
from netproxy.cli.options import WITHOUT_EFFECT
from netproxy.cli.settings import Flags
from netproxy.config.decode import Configuration, Warned
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
    "master",
    "init_only",
    "cleanup",
    "write_config_to",
    "log_format",
    "logging_format",
    "verbosity",
    "run_pods",
    "data_dir",
    "cluster_domain",
    "cluster_dns",
    "pod_namespace_prefix",
}
"""Flags that count with ``--config``, too. Source: kube-proxy 1.36: logging, the node's name, and
what its file has no word for. Ours are those that say where objects come from and what is printed.
"""


class Loaded(NamedTuple):
    """What to do, and how it was said."""

    configuration: Configuration
    settings: Settings
    warnings: list[Warned]
    """What of a file is not understood, or does nothing."""


class Loader:
    """Reads what ``run`` goes by, and reads it again when the file changes.

    Args:
        flags: What click collected.
        given: The flags that somebody gave, on the command line or in the environment: click's
            name, and the flag as it is written.
    """

    def __init__(self, flags: Flags, given: Mapping[str, str]) -> None:
        self._flags = flags
        self._given = given
        self._data = b""
        self.path: str | None = flags.get("config")

    def load(self) -> Loaded:
        """What the flags, or the file, say now. Logs nothing: the log is not configured yet.

        Raises:
            ConfigError: they make no sense.
        """
        if self.path is not None:
            read = read_config_file(self.path)
            self._data = read.data
            return self._beside_flags(read)
        configuration = words.read_configuration(self._flags)
        settings = make_settings(configuration, hostname=words.hostname(), spell=words.flag_of)
        return Loaded(configuration, settings, [])

    async def changes(self) -> AsyncIterator[Loaded | ConfigError]:
        """What the file says anew since ``load``, or why that cannot be used.

        Without a file, never anything.
        """
        if self.path is None:
            return
        async for read in watch_config_file(self.path, self._data):
            if isinstance(read, ConfigError):
                yield read
                continue
            try:
                loaded = self._beside_flags(read)
            except ConfigError as error:
                yield error
            else:
                self._say_of_file(loaded)
                yield loaded

    def say_what_has_no_effect(self, loaded: Loaded) -> None:
        """Log what the operator said in vain; once, when the log is configured."""
        for name, flag in sorted(self._given.items()):
            if reason := WITHOUT_EFFECT.get(flag):
                log.warning("flag without effect", flag=flag, reason=reason)
            elif self.path is not None and name not in _BESIDE_A_FILE:
                log.warning("flag ignored", flag=flag, reason=f"{self.path} says everything")
        self._say_of_file(loaded)

    def _say_of_file(self, loaded: Loaded) -> None:
        for warned in loaded.warnings:
            log.warning("configuration", path=self.path, field=warned.field, error=warned.problem)
        kube = loaded.configuration.kube
        for gate, value in (kube.feature_gates or {}).items():
            log.warning("feature gate without effect", gate=gate, value=value)
        if self.path is not None and not kube.mode:
            log.info(
                "mode not set",
                mode=ProxyMode.NFTABLES.value,
                hint="kube-proxy would use iptables and accept NodePorts on every address, unless "
                "nodePortAddresses says which; write mode: iptables to have the same",
            )

    def _beside_flags(self, read: Read) -> Loaded:
        assert self.path is not None
        kube, own = read.configuration
        override, master = self._flags.get("hostname_override"), self._flags.get("master")
        verbosity = words.read_verbosity(self._flags)
        format_ = next(
            (self._flags[name] for name in ("logging_format", "log_format") if name in self._given),
            None,
        )
        replace = msgspec.structs.replace
        logging = replace(kube.logging, format=format_ or kube.logging.format)
        if verbosity is not None:
            logging = replace(logging, verbosity=verbosity)
            own = replace(own, log_verbosity=words.verbosity_of_own(verbosity))
        kube = replace(kube, hostname_override=override or kube.hostname_override, logging=logging)
        configuration = Configuration(kube, replace(own, master=master or own.master))
        settings = make_settings(configuration, hostname=words.hostname(), spell=speller(self.path))
        return Loaded(configuration, settings, read.warnings)
