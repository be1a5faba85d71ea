"""What is wrong with somebody's data. A value, not an exception: the rest goes on."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Severity(enum.Enum):
    """How much of the object is lost."""

    ERROR = "error"
    """The object, or the named part of it, is not used."""
    WARNING = "warning"
    """It is used, but probably not as its author meant it."""


class Diagnostic(NamedTuple):
    """One finding about one object."""

    severity: Severity
    subject: str
    """The object: ``Service default/web``; empty when the file itself is the matter."""
    field: str
    """Path inside the object: ``spec.ports[0].port``; empty for the object as a whole."""
    message: str
    """What is wrong and what would be right, in one line."""
    path: str = ""
    """The file it came from; empty for objects that came over an API."""
    line: int = 0
    """1-based line in that file; 0 when unknown."""

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line else f"{self.path}: " if self.path else ""
        what = ": ".join(part for part in (self.subject, self.field) if part)
        return f"{where}{what}: {self.message}" if what else f"{where}{self.message}"
