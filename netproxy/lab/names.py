"""What a lab's namespaces are called: ``np-LAB-node-1``, ``np-LAB-pod-NAME``. Pure.

Rule 1: the name alone tells which lab a namespace belongs to and what it is. ``down`` relies on
it, so no two labs may be able to have the same name in common.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from netproxy.errors import ConfigError

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Role(enum.Enum):
    """What a namespace stands for. The value is a word of its name."""

    BACKBONE = "backbone"
    """The wire between the nodes, and the router that says "unreachable" to strays."""
    NODE = "node"
    CLIENT = "client"
    """A host outside the cluster that connects to it."""
    HOST = "host"
    """Any other host outside the cluster, such as a database."""
    POD = "pod"


_ROLE_WORDS = frozenset(role.value for role in Role)


class NamespaceName(NamedTuple):
    """The parts of a name such as ``np-lab-pod-web-1``."""

    lab: str
    role: Role
    member: str


def check_label(text: str, *, setting: str) -> str:
    """The text itself, if it is a DNS label.

    Raises:
        ConfigError: it is none.
    """
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise ConfigError(
            setting=setting,
            problem=f"{text!r} is not a DNS label",
            hint="use at most 63 small letters, digits and '-', with no '-' at either end",
        )
    return text


def check_lab_name(text: str) -> str:
    """The text itself, if a lab can have this name.

    A name with a role's word in it would make ``np-a-pod-b-node-1`` belong to two labs, and
    ``down`` of the one would remove the other.

    Raises:
        ConfigError: it cannot.
    """
    check_label(text, setting="lab name")
    taken = _ROLE_WORDS & set(text.split("-"))
    if taken:
        word = min(taken)
        raise ConfigError(
            setting="lab name",
            problem=f"{text!r} has the word {word!r} in it",
            hint="namespaces are called np-LAB-node-1, np-LAB-pod-NAME and so on; "
            "the lab's own name must not look like a part of that",
        )
    return text


def namespace_name(lab: str, role: Role, member: str) -> str:
    """Under ``/run/netns``.

    Example:
        >>> namespace_name("lab", Role.NODE, "node-1"), namespace_name("lab", Role.POD, "web")
        ('np-lab-node-1', 'np-lab-pod-web')
    """
    if role in (Role.POD, Role.HOST):
        return f"np-{lab}-{role.value}-{member}"
    return f"np-{lab}-{member}"


def parse_namespace_name(text: str) -> NamespaceName | None:
    """The parts of a namespace's name; None when no lab made it.

    Example:
        >>> parse_namespace_name("np-a-b-pod-web-1")
        NamespaceName(lab='a-b', role=<Role.POD: 'pod'>, member='web-1')
    """
    words = text.split("-")
    if words[0] != "np":
        return None
    for index, word in enumerate(words):
        if index >= 2 and word in _ROLE_WORDS:
            role = Role(word)
            rest = words[index + 1 :] if role in (Role.POD, Role.HOST) else words[index:]
            return NamespaceName("-".join(words[1:index]), role, "-".join(rest))
    return None
