"""Kubeconfig files, read as kubectl reads them; fields that nobody here uses are ignored.

Not here: whether certificates and keys are any good (``tls.py``); what runs (``exec_plugin.py``).

Source: the command ``kubectl config view``, which the tests ask; for the fields
https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from netproxy.errors import ConfigError
from netproxy.kubernetes import kubeconfig_cluster, kubeconfig_user
from netproxy.kubernetes.access import Access
from netproxy.kubernetes.kubeconfig_fields import ClusterFields, Entry, UserFields

_Fields = TypeVar("_Fields")
_HINT_KIND = "a kubeconfig is YAML with `apiVersion: v1` and `kind: Config`"


class _ContextFields(msgspec.Struct):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct):
    name: str = ""
    cluster: ClusterFields = msgspec.field(default_factory=ClusterFields)


class _NamedUser(msgspec.Struct):
    name: str = ""
    user: UserFields = msgspec.field(default_factory=UserFields)


class _NamedContext(msgspec.Struct):
    name: str = ""
    context: _ContextFields = msgspec.field(default_factory=_ContextFields)


class _File(msgspec.Struct, rename="kebab"):
    api_version: str = msgspec.field(default="", name="apiVersion")
    kind: str = ""
    current_context: str = ""
    clusters: list[_NamedCluster] = []
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []


class _Merged(NamedTuple):
    """Several files as one. Of several entries with one name, the first file has the only one."""

    files: str
    """All of them, for messages."""
    current_context: str
    clusters: dict[str, Entry[ClusterFields]]
    users: dict[str, Entry[UserFields]]
    contexts: dict[str, Entry[_ContextFields]]


def read_kubeconfig(location: str, *, context: str = "", master: str = "") -> Access:
    """Whom to ask, and as whom.

    Args:
        location: A file, or several joined by colons, of which some may be missing.
        context: The context to use; empty: the current one.
        master: The server to ask instead of the one that is configured.

    Raises:
        ConfigError: with file, field and remedy.
    """
    merged = _merge(_read_files(location))
    chosen = _choose_context(merged, context)
    cluster_entry = _referred(merged.clusters, chosen, "cluster", chosen.fields.cluster)
    user_entry = Entry("", Path(merged.files), UserFields())  # without a user: nobody
    if chosen.fields.user:
        user_entry = _referred(merged.users, chosen, "user", chosen.fields.user)
    cluster = kubeconfig_cluster.to_cluster(cluster_entry, master=master)
    user = kubeconfig_user.to_user(
        user_entry, lambda: kubeconfig_cluster.exec_info(cluster_entry, cluster)
    )
    return Access(cluster, user, chosen.fields.namespace)


def _choose_context(merged: _Merged, wanted: str) -> Entry[_ContextFields]:
    name = wanted or merged.current_context
    known = ", ".join(sorted(merged.contexts)) or "none"
    if not name:
        raise ConfigError(
            setting=f"{merged.files}: current-context",
            problem="no context is chosen",
            hint=f"set current-context, or name a context; there are: {known}",
        )
    if name not in merged.contexts:
        raise ConfigError(
            setting=f"{merged.files}: {'contexts' if wanted else 'current-context'}",
            problem=f'there is no context "{name}"',
            hint=f"there are: {known}",
        )
    return merged.contexts[name]


def _referred(
    entries: dict[str, Entry[_Fields]], context: Entry[_ContextFields], kind: str, name: str
) -> Entry[_Fields]:
    if name in entries:
        return entries[name]
    raise ConfigError(
        setting=f"{context.path}: contexts[{context.name}].{kind}",
        problem=f'there is no {kind} "{name}"' if name else f"names no {kind}",
        hint=f"there are: {', '.join(sorted(entries)) or 'none'}",
    )


def _merge(files: Sequence[tuple[Path, _File]]) -> _Merged:
    return _Merged(
        files=os.pathsep.join(str(path) for path, _ in files),
        current_context=next((f.current_context for _, f in files if f.current_context), ""),
        clusters=_first(Entry(c.name, path, c.cluster) for path, f in files for c in f.clusters),
        users=_first(Entry(u.name, path, u.user) for path, f in files for u in f.users),
        contexts=_first(Entry(c.name, path, c.context) for path, f in files for c in f.contexts),
    )


def _first(entries: Iterable[Entry[_Fields]]) -> dict[str, Entry[_Fields]]:
    found: dict[str, Entry[_Fields]] = {}
    for entry in entries:
        known = found.setdefault(entry.name, entry)
        if known is not entry and known.path == entry.path:
            raise ConfigError(
                setting=f"{entry.path}: {entry.name}",
                problem="two entries of one list have this name",
                hint="rename or remove one of them",
            )
    return found


def _read_files(location: str) -> list[tuple[Path, _File]]:
    if os.pathsep not in location or Path(location).exists():
        return [(Path(location), _read_file(Path(location)))]
    paths = list(dict.fromkeys(Path(part) for part in location.split(os.pathsep) if part))
    files = [(path, _read_file(path)) for path in paths if path.exists()]
    if not files:
        raise ConfigError(
            setting=f"--kubeconfig {location}",
            problem="none of these files exists",
            hint="name a kubeconfig that this user may read",
        )
    return files


def _read_file(path: Path) -> _File:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            setting=f"--kubeconfig {path}",
            problem=f"cannot be read: {error.strerror}",
            hint="name a kubeconfig that this user may read",
        ) from error
    try:
        file = msgspec.convert(_without_nulls(_load_yaml(path, raw)) or {}, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(setting=str(path), problem=str(error), hint=_HINT_KIND) from error
    if (file.kind or "Config", file.api_version or "v1") != ("Config", "v1"):
        problem = f"has {file.kind or 'an object'} of {file.api_version or 'no API version'}"
        raise ConfigError(setting=str(path), problem=problem, hint=_HINT_KIND)
    return file


def _load_yaml(path: Path, raw: bytes) -> object:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(raw, Loader=loader)  # noqa: S506 - both are safe loaders
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = str(path) if mark is None else f"{path}:{mark.line + 1}"
    # No word of the library's: about an alias or a tag it repeats text that may be a password.
    raise ConfigError(setting=where, problem="is not YAML", hint=_HINT_KIND)


def _without_nulls(value: Any) -> Any:
    """A null is as good as a field that is not there."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value if each is not None]
    return value
