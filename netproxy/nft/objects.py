"""Tables, chains, sets and their elements as values.

Element keys and data are packed bytes in the kernel's own layout, because there are very many of
them; :mod:`netproxy.nft.elements` packs and unpacks them. Everything else is typed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft.expr import Field, Key, Numgen, Rule, Verdict


class Hook(NamedTuple):
    """Where a base chain is called from. Source: nft(8), "Chains"."""

    type: str
    """``filter`` or ``nat``."""
    hook: str
    """``prerouting``, ``input``, ``forward``, ``output`` or ``postrouting``."""
    priority: int


HOOK_NUMBERS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
"""Source: enum nf_inet_hooks, linux/netfilter.h."""


class Chain(NamedTuple):
    """A chain with its rules. ``hook`` is None for a regular chain."""

    rules: tuple[Rule, ...]
    hook: Hook | None = None


class SetKind(enum.Enum):
    """What an element of the set carries besides its key."""

    SET = "set"
    DATA_MAP = "data map"
    VERDICT_MAP = "verdict map"


class SetSpec(NamedTuple):
    """The declaration of a set or a map."""

    kind: SetKind
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    """Field types of a DATA_MAP's value."""
    is_dynamic: bool = False
    """Rules put elements in, each for some time. They are the kernel's own: nobody reads them,
    and no comparison sees them."""
    size: int = 0
    """How many elements a dynamic set may have."""
    counts: bool = False
    """Each element counts the packets for which a rule finds it. The counts are the kernel's own:
    no comparison sees them."""

    @property
    def has_typeof(self) -> bool:
        """Whether its declaration names expressions, because no type has a name for them."""
        return any(isinstance(load, Numgen) or load is Key.SADDR_DADDR_HEAD for load in self.key)


Data = bytes | Verdict | None
"""Value of an element: packed bytes in a data map, a verdict in a verdict map, None in a set."""

Elements = dict[bytes, Data]


class Ruleset(NamedTuple):
    """All of one table: what the kernel has, or what it shall have."""

    family: Family
    table: str
    chains: dict[str, Chain]
    sets: dict[str, SetSpec]
    elements: dict[str, Elements]
    """Set name → its elements; every set has an entry."""

    @classmethod
    def empty(cls, family: Family, table: str) -> Ruleset:
        return cls(family, table, {}, {}, {})

    @property
    def exists(self) -> bool:
        """Whether the kernel has the table at all; ours is never empty."""
        return bool(self.chains or self.elements)


Vocabulary = Callable[[Iterable[str]], Iterable[Rule]]
"""Names of the chains found → every rule that could stand in them if they are ours.

The kernel gives rules back as register machine code; whoever reads them must know what to expect.
"""


def family_word(family: Family) -> str:
    """Nft's word for the family: ``ip`` or ``ip6``."""
    return "ip" if family is Family.IPV4 else "ip6"
