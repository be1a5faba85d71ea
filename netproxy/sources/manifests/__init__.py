"""Services from files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from netproxy.sources.manifests.shelf import Batch, ManifestSet, read_manifests

__all__ = ["Batch", "ManifestSet", "read_manifests", "watch_manifests"]


def watch_manifests(paths: Sequence[str]) -> AsyncIterator[Batch]:
    """Everything the manifests say, then every change; see ``watch``."""
    # Imported here: commands that read once have no use for inotify and an event loop.
    from netproxy.sources.manifests.watch import watch_manifests as watch

    return watch(paths)
