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
from netproxy.errors import ConfigError, ManifestError
from netproxy.sources.manifests.documents import read_documents

POLL_S = 1.0
"""A look costs microseconds; unlike inotify it works on every file system, and it sees the symlink
that a mounted ConfigMap changes two directories above."""


class Read(NamedTuple):
    """What a file says."""

    configuration: Configuration
    warnings: list[Warned]


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
    path: str, *, poll_s: float = POLL_S
) -> AsyncIterator[Read | ConfigError]:
    """Whatever the file says anew, beginning with the first change after this call.

    Yields:
        What it says, or why that cannot be used.
    """
    seen = _fingerprint(path)
    content = _content(path)
    while True:
        await asyncio.sleep(poll_s)
        now = _fingerprint(path)
        if now == seen:
            continue
        seen = now
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
            hint=error.hint,
        ) from error
    problems = Problems()
    configuration, warnings = decode_documents(documents, problems)
    if not documents:
        problems.add("", "is empty", "write at least apiVersion and kind")
    problems.raise_if_any(speller(path))
    return Read(configuration, warnings)


def _read_bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            setting="--config",
            problem=f"{path}: {error.strerror}",
            hint="name a file that this user may read",
        ) from error


def _content(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


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
