"""Manifests on disk, as people and programs write them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from netproxy.model.events import Delete, Event, Listed, Upsert, key_of
from netproxy.sources.manifests.shelf import Shelf


def service(name: str, port: object = 80, address: str = "10.96.0.1") -> str:
    """A Service as YAML."""
    return (
        f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n"
        f"spec:\n  clusterIP: {address}\n  ports:\n  - port: {port}\n---\n"
    )


def legacy_endpoints(name: str, *addresses: str) -> str:
    """Legacy Endpoints as YAML: a slice per family."""
    lines = "".join(f"  - ip: {address}\n" for address in addresses)
    return (
        f"apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: {name}\n"
        f"subsets:\n- addresses:\n{lines}  ports:\n  - port: 80\n---\n"
    )


_clock = [1_700_000_000_000_000_000]


def write(path: Path, text: str | bytes) -> None:
    """New content with a time stamp of its own, however fast the test is."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    _clock[0] += 1_000_000_000
    os.utime(path, ns=(_clock[0], _clock[0]))


def names(shelf: Shelf) -> list[str]:
    """The names of all objects, in order."""
    return [name for _, _, name in shelf.objects]


def words(events: Iterable[Event]) -> list[str]:
    """Events as ``+name``, ``-name``, ``listed``, ``listed?`` (incomplete)."""
    found = []
    for event in events:
        match event:
            case Upsert(obj):
                found.append(f"+{key_of(obj)[2]}")
            case Delete(key):
                found.append(f"-{key[2]}")
            case Listed(complete):
                found.append("listed" if complete else "listed?")
            case _:
                found.append("reset")
    return found
