"""The configuration file: read, written, and followed when it changes.

A file that becomes wrong changes nothing: what was read before stays in force.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from netproxy.config.decode import Configuration, Warned, decode_documents
from netproxy.config.encode import encode
from netproxy.config.problems import Problems
from netproxy.config.settings import find_mistakes
from netproxy.config.unused import unused_fields
from netproxy.errors import ConfigError, ManifestError
from netproxy.sources.manifests.documents import read_documents

POLL_S = 1.0
"""A look costs microseconds; unlike inotify it works on every file system, and it sees the symlink
that a mounted ConfigMap changes two directories above."""
SETTLE_S = 0.1
"""Half a file may be a configuration, too: it is read when nobody has written for so long."""
_MOST_SETTLING = 50


class Read(NamedTuple):
    """What a file says."""

    configuration: Configuration
    warnings: list[Warned]
    """Fields that do not exist, or do nothing."""
    data: bytes
    """What was read, so that a watch knows from where to go on."""


def speller(path: str) -> Callable[[str], str]:
    """How messages name a field of this file."""
    return lambda field: f"{path}: {field}" if field else path


def read_config_file(path: str) -> Read:
    """What the file says.

    Raises:
        ConfigError: it cannot be read, or holds no configuration; all mistakes are named.
    """
    return _decode(_read_bytes(path), path)


def write_config_file(path: str, configuration: Configuration) -> None:
    """Write the configuration with all defaults, for people and for ``--config``.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        Path(path).write_text(encode(configuration), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            setting="--write-config-to",
            problem=f"{path}: {error.strerror}",
            hint="name a file in a directory that exists and may be written to",
        ) from error


async def watch_config_file(
    path: str, since: bytes, *, poll_s: float = POLL_S
) -> AsyncIterator[Read | ConfigError]:
    """Whatever the file says anew.

    Args:
        path: The file.
        since: What it said when it was read last. It may have changed since then.
        poll_s: Seconds from one look to the next.

    Yields:
        What it says, or why that cannot be used; nothing twice.
    """
    seen: Mapping[str, int] | None = {}
    content: bytes | None = since
    while True:
        await asyncio.sleep(poll_s)
        if _fingerprint(path) == seen:
            continue
        seen = await _settle(path, min(SETTLE_S, poll_s))
        try:
            data = _read_bytes(path)
        except ConfigError as error:
            content = None
            yield error
            continue
        if data == content:
            continue  # touched, or the same text by another way
        content = data
        try:
            yield _decode(data, path)
        except ConfigError as error:
            yield error


def _decode(data: bytes, path: str) -> Read:
    try:
        documents = read_documents(data, path)
    except ManifestError as error:
        raise ConfigError(
            setting=f"{error.path}:{error.line}" if error.line else error.path,
            problem=error.message.partition(": ")[2],
            hint=error.hint or "netproxy run --write-config-to FILE shows how one looks",
        ) from error
    problems = Problems()
    configuration, warnings = decode_documents(documents, problems)
    if not documents:
        problems.add("", "is empty", "write at least apiVersion and kind")
    if problems.found:
        find_mistakes(configuration, problems)
    problems.raise_if_any(speller(path))
    return Read(configuration, warnings + unused_fields(configuration.kube), data)


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            setting="--config",
            problem=f"{path}: {error.strerror}",
            hint="name a file that this user may read",
        ) from error


async def _settle(path: str, quiet_s: float) -> Mapping[str, int] | None:
    """The file's fingerprint, when it stays the same; a file that never rests is read all the same.

    As times of files are coarse, the wait also sees to it that a later write has another one.
    """
    seen = _fingerprint(path)
    for _ in range(_MOST_SETTLING):
        await asyncio.sleep(quiet_s)
        now = _fingerprint(path)
        if now == seen:
            break
        seen = now
    return seen


def _fingerprint(path: str) -> Mapping[str, int] | None:
    """Changes with every write, rename, and change of a symlink on the way; None: no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return {
        "device": status.st_dev,
        "inode": status.st_ino,
        "size": status.st_size,
        "modified": status.st_mtime_ns,
        "changed": status.st_ctime_ns,
    }
