"""How long a test waits for what should come at once."""

from __future__ import annotations

import os

SCALE = float(os.environ.get("NETPROXY_TIME_SCALE", "1"))
"""How much slower than a developer's machine this one is: an emulated one ten to twenty times."""


def patience(seconds: float) -> float:
    """Seconds to wait here for what should have come after so many on a machine that is busy.

    Never for how long something must take, nor for what must not happen.
    """
    return seconds * SCALE
