"""Transactions as text for people and for ``nft -f``, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft import text
from netproxy.nft.objects import Data, SetSpec, family_word
from netproxy.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Operation,
    ReplaceElements,
    Transaction,
)
from netproxy.render.environment import fill_in


class Annotations(NamedTuple):
    """What the comments say; none of it is programmed."""

    owners: Mapping[bytes, str] = {}
    """Packed frontend, or packed ClusterIP, → service port."""
    describe: Callable[[str], str] = lambda _name: ""
    """Name of a set or chain → what it is for."""


def render_ruleset(
    transactions: Sequence[Transaction],
    annotations: Mapping[Family, Annotations],
    *,
    title: str = "",
) -> str:
    """Whole tables, built from nothing, as a file for ``nft -f`` that replaces what is there.

    Args:
        transactions: Each makes one table from nothing.
        annotations: Per family.
        title: First line of the file, a comment.
    """
    tables = [_Table(t, annotations.get(t.family, Annotations())).as_values() for t in transactions]
    return fill_in("ruleset.nft.j2", {"tables": tables, "title": title})


def render_transaction(transaction: Transaction, annotations: Annotations | None = None) -> str:
    """One change as nft commands, in the order in which the kernel gets them."""
    notes = annotations or Annotations()
    commands = [line for op in transaction.operations for line in _commands(transaction, op, notes)]
    values = {"transaction": transaction, "commands": commands, "size": transaction.size()}
    return fill_in("transaction.nft.j2", values)


def transaction_to_json(transaction: Transaction) -> dict[str, object]:
    """A transaction for programs: every rule and element in nft's words."""
    family = transaction.family
    return {
        "family": family_word(family),
        "table": transaction.table,
        "operations": [_operation_json(op, family) for op in transaction.operations],
    }


class _Line(NamedTuple):
    """Text with the comment that follows it."""

    text: str
    comment: str = ""


def _element_lines(
    spec: SetSpec, items: Sequence[tuple[bytes, Data]], family: Family, notes: Annotations
) -> list[_Line]:
    return [
        _Line(text.element_text(spec, key, data, family), _owner(key, notes)) for key, data in items
    ]


def _owner(key: bytes, notes: Annotations) -> str:
    # A key of an endpoints map is a frontend followed by an index.
    return notes.owners.get(key) or notes.owners.get(key[:-4], "")


class _Table:
    """One table's transaction, sorted into what a table's block lists."""

    def __init__(self, transaction: Transaction, notes: Annotations) -> None:
        self._transaction = transaction
        self._notes = notes
        self._specs: dict[str, SetSpec] = {}
        self._elements: dict[str, list[_Line]] = {}
        self._hooks: dict[str, str] = {}
        self._rules: dict[str, list[str]] = {}
        for operation in transaction.operations:
            self._take(operation)

    def _take(self, operation: Operation) -> None:
        family = self._transaction.family
        match operation:
            case AddSet(set=name, spec=spec):
                self._specs[name] = spec
            case AddElements(set=name, spec=spec, items=items):
                lines = _element_lines(spec, items, family, self._notes)
                self._elements.setdefault(name, []).extend(lines)
            case AddChain(chain=name, hook=hook):
                self._rules.setdefault(name, [])
                self._hooks[name] = text.hook_text(hook) if hook else ""
            case AddRule(chain=name, rule=rule):
                self._rules[name].append(text.rule_text(rule, family))
            case _:
                pass  # nothing else occurs when a table is built from nothing

    def as_values(self) -> dict[str, object]:
        """What the template loops over."""
        family = self._transaction.family
        describe = self._notes.describe
        return {
            "family": family_word(family),
            "name": self._transaction.table,
            "sets": [
                {
                    "word": text.set_word(spec),
                    "name": name,
                    "description": describe(name),
                    "type": text.set_type_text(spec, family),
                    "elements": self._elements.get(name, []),
                }
                for name, spec in self._specs.items()
            ],
            "chains": [
                {
                    "name": name,
                    "description": describe(name),
                    "hook": self._hooks[name],
                    "rules": rules,
                }
                for name, rules in self._rules.items()
            ],
        }


def _commands(  # noqa: C901, PLR0911 - one case per operation
    transaction: Transaction, operation: Operation, notes: Annotations
) -> list[_Line]:
    """The nft commands of one operation."""
    family = transaction.family
    where = f"{family_word(family)} {transaction.table}"
    match operation:
        case AddTable():
            return [_Line(f"add table {where}")]
        case DeleteTable():
            return [_Line(f"delete table {where}")]
        case AddChain(chain=name, hook=hook):
            block = f" {{ {text.hook_text(hook)} }}" if hook else ""
            return [_Line(f"add chain {where} {name}{block}")]
        case FlushChain(chain=name):
            return [_Line(f"flush chain {where} {name}")]
        case DeleteChain(chain=name):
            return [_Line(f"delete chain {where} {name}")]
        case AddRule(chain=name, rule=rule):
            return [_Line(f"add rule {where} {name} {text.rule_text(rule, family)}")]
        case AddSet(set=name, spec=spec):
            block = f"{{ {text.set_type_text(spec, family)}; }}"
            return [_Line(f"add {text.set_word(spec)} {where} {name} {block}")]
        case DeleteSet(set=name):
            return [_Line(f"delete set {where} {name}")]
        case AddElements(set=name, spec=spec, items=items):
            return _element_commands("add", where, name, _element_lines(spec, items, family, notes))
        case DeleteElements(set=name, spec=spec, items=items):
            lines = _element_lines(spec, items, family, notes)
            return _element_commands("delete", where, name, lines)
        case ReplaceElements(set=name, spec=spec, items=changes):
            old = _element_lines(spec, [(key, data) for key, data, _ in changes], family, notes)
            new = _element_lines(spec, [(key, data) for key, _, data in changes], family, notes)
            return [
                *_element_commands("delete", where, name, old),
                *_element_commands("add", where, name, new),
            ]


def _element_commands(verb: str, where: str, name: str, lines: list[_Line]) -> list[_Line]:
    return [_Line(f"{verb} element {where} {name} {{ {x.text} }}", x.comment) for x in lines]


def _operation_json(operation: Operation, family: Family) -> dict[str, object]:
    out: dict[str, object] = {"op": type(operation).__name__}
    match operation:
        case AddRule(chain=name, rule=rule):
            out |= {"chain": name, "rule": text.rule_text(rule, family)}
        case AddChain(chain=name, hook=hook):
            out |= {"chain": name} | ({"hook": hook._asdict()} if hook else {})
        case FlushChain(chain=name) | DeleteChain(chain=name):
            out |= {"chain": name}
        case AddSet(set=name, spec=spec):
            out |= {"set": name, "type": text.set_type_text(spec, family)}
        case DeleteSet(set=name):
            out |= {"set": name}
        case (
            AddElements(set=name, spec=spec, items=items)
            | DeleteElements(set=name, spec=spec, items=items)
        ):
            elements = [text.element_text(spec, key, data, family) for key, data in items]
            out |= {"set": name, "elements": elements}
        case ReplaceElements(set=name, spec=spec, items=changes):
            out |= {
                "set": name,
                "old": [text.element_text(spec, key, data, family) for key, data, _ in changes],
                "elements": [
                    text.element_text(spec, key, data, family) for key, _, data in changes
                ],
            }
        case AddTable() | DeleteTable():
            pass
    return out
