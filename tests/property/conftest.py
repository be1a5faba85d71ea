"""Laws are tried with thousands of Proxiers in one process."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest

_SYNCS = 1000


@pytest.fixture(autouse=True)
def _circles_are_freed_now_and_then() -> Iterator[None]:
    """Each sync freezes what is alive, and with it what Hypothesis leaves in circles."""
    freeze = gc.freeze
    syncs = itertools.count(1)

    def freeze_most() -> None:
        if next(syncs) % _SYNCS == 0:
            gc.unfreeze()
            gc.collect()
        freeze()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", freeze_most)
        yield
