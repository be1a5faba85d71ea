"""Changes of iptables as text for people and for iptables-restore, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netproxy.ipt.change import Restore
from netproxy.model.ip import Family
from netproxy.render.environment import fill_in, fill_in_pieces

_PROGRAMS = {Family.IPV4: "iptables-restore", Family.IPV6: "ip6tables-restore"}


def restore_pieces(change: Restore) -> Iterable[str]:
    """The input of ``iptables-restore --noflush``, piece by piece."""
    return fill_in_pieces("restore.iptables.j2", {"tables": change.tables})


def render_restores(changes: Sequence[Restore], *, title: str = "") -> str:
    """Changes of both families for people; each part is what one program is given."""
    parts = [{"program": _PROGRAMS[c.family], "text": "".join(restore_pieces(c))} for c in changes]
    return fill_in("rules.iptables.j2", {"title": title, "parts": parts})


def restore_to_json(change: Restore) -> dict[str, object]:
    """One change for programs."""
    return {
        "family": "ip" if change.family is Family.IPV4 else "ip6",
        "tables": [
            {
                "name": table.name,
                "chains": {chain: rules.splitlines() for chain, rules in table.written.items()},
                "deletedChains": list(table.deleted),
                "addedJumps": list(table.added_jumps),
                "deletedJumps": list(table.deleted_jumps),
            }
            for table in change.tables
        ],
    }
