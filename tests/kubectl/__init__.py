"""Real kubectl, of the release whose API is served, and a real ``netproxy apiserver``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

KUBECTL: Final = str(Path(sys.executable).with_name("kubectl"))
"""kubectl 1.36, which comes with the packages for development."""
