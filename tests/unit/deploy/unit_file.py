"""Reads a systemd unit's file, as far as ours needs it."""

from __future__ import annotations

UnitFile = dict[str, dict[str, list[str]]]
"""Sections, settings, and the values of each in order."""


def read_unit(text: str) -> UnitFile:
    """The sections of a unit. Every line has to be a section, a setting or a comment."""
    sections: UnitFile = {}
    section: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert name.isalpha(), line
            section.setdefault(name, []).append(value)
    return sections
