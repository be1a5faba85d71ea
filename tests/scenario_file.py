"""Text archives: a comment and some small files in one file that people can read and diff.

The format is Go's txtar: text before the first ``-- name --`` line is the comment, every such
line begins a file that lasts until the next one or the end.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_MARKER = re.compile(r"^-- (\S(?:.*?\S)?) --[ \t]*(?:\n|\Z)", re.MULTILINE)


class ScenarioFileError(ValueError):
    """The archive cannot be read."""


class ScenarioFile(NamedTuple):
    r"""A comment and sections in their order.

    Example:
        >>> ScenarioFile.parse("# why\n-- web.yaml --\nkind: Service\n").sections
        {'web.yaml': 'kind: Service\n'}
    """

    comment: str
    sections: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> ScenarioFile:
        """Read an archive.

        Raises:
            ScenarioFileError: two sections have the same name.
        """
        comment, *rest = _MARKER.split(text)
        names = rest[0::2]
        sections = dict(zip(names, rest[1::2], strict=True))
        if len(sections) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ScenarioFileError(f"two sections are called {twice!r}")
        return cls(comment, sections)

    @classmethod
    def read(cls, path: Path) -> ScenarioFile:
        """Read an archive from a file.

        Raises:
            ScenarioFileError: two sections have the same name.
        """
        try:
            return cls.parse(path.read_text())
        except ScenarioFileError as error:
            raise ScenarioFileError(f"{path}: {error}") from None

    def with_section(self, name: str, text: str) -> ScenarioFile:
        """The same with this section replaced, or added at the end."""
        return self._replace(sections={**self.sections, name: text})

    def format(self) -> str:
        """The archive as text; every section ends with a line end.

        Raises:
            ScenarioFileError: a section has a line that would begin another.
        """
        parts = [_ended(self.comment)]
        for name, text in self.sections.items():
            if _MARKER.search(text):
                raise ScenarioFileError(f"section {name!r} has a section marker in it")
            parts.append(f"-- {name} --\n{_ended(text)}")
        return "".join(parts)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
