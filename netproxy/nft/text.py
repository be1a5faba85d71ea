"""Statements, keys and elements in nft's syntax (nft 1.0.6 and newer)."""

from __future__ import annotations

from netproxy.model.ip import Family, unpack_address
from netproxy.nft.elements import unpack_fields
from netproxy.nft.expr import (
    ADDRESSES_HEAD,
    PROTOCOL_NAMES,
    Dnat,
    DropElement,
    Field,
    FlipMark,
    InSet,
    Key,
    Load,
    Masquerade,
    Match,
    MatchMark,
    MatchNewConnection,
    MatchPrefix,
    MatchTranslated,
    Numgen,
    PutElement,
    Reject,
    RestoreDaddr,
    RewriteDaddr,
    Rule,
    SetMark,
    SourceNetwork,
    Statement,
    Verdict,
    VerdictMap,
    network_mask,
)
from netproxy.nft.objects import Data, Hook, SetKind, SetSpec, family_word

_TYPE_WORDS = {Key.L4PROTO: "inet_proto", Key.DPORT: "inet_service", Key.IIFNAME: "ifname"}
_PRIORITY_WORDS = {
    # nft 1.0.6 knows dstnat by name in prerouting only.
    ("prerouting", -100): "dstnat",
    ("postrouting", 100): "srcnat",
}


def rule_text(rule: Rule, family: Family) -> str:
    """One rule as one line."""
    words = " ".join(statement_text(statement, family) for statement in rule.statements)
    return f'{words} comment "{rule.comment}"' if rule.comment else words


def load_text(load: Load, family: Family) -> str:
    """A key, as it is written in rules and in ``typeof``."""
    if isinstance(load, Numgen):
        offset = f" offset {load.offset}" if load.offset else ""
        return f"numgen random mod {load.modulus}{offset}"
    if isinstance(load, SourceNetwork):
        mask = unpack_address(network_mask(load.length, family))
        return f"{family_word(family)} saddr & {mask}"
    return load.value.format(ip=family_word(family), head=ADDRESSES_HEAD[family])


def keys_text(keys: tuple[Load, ...], family: Family) -> str:
    """A concatenation."""
    return " . ".join(load_text(key, family) for key in keys)


def statement_text(  # noqa: C901, PLR0911, PLR0912 - one case per statement
    statement: Statement, family: Family
) -> str:
    """One statement."""
    match statement:
        case Match():
            return _match_text(statement, family)
        case MatchPrefix(key=key, prefix=prefix, negate=negate):
            bits = 32 if family is Family.IPV4 else 128
            network = prefix.address if prefix.length == bits else str(prefix)
            return f"{load_text(key, family)} {'!= ' if negate else ''}{network}"
        case MatchNewConnection():
            return "ct state new"
        case MatchTranslated():
            return "ct status dnat"
        case MatchMark(bits=bits):
            return f"meta mark & {bits:#010x} != 0x00000000"
        case InSet(keys=keys, set=name, negate=negate):
            return f"{keys_text(keys, family)} {'!= ' if negate else ''}@{name}"
        case VerdictMap(keys=keys, map=name):
            return f"{keys_text(keys, family)} vmap @{name}"
        case Dnat(keys=keys, map=name):
            return f"dnat {family_word(family)} to {keys_text(keys, family)} map @{name}"
        case RewriteDaddr(keys=keys, map=name):
            return f"{family_word(family)} daddr set {keys_text(keys, family)} map @{name}"
        case RestoreDaddr():
            original = load_text(Key.ORIGINAL_DADDR, family)
            return f"{family_word(family)} daddr set {original}"
        case PutElement(map=name, key=key, data=data, timeout_s=seconds):
            left = f"{keys_text(key, family)} timeout {seconds}s"
            return f"update @{name} {{ {left} : {keys_text(data, family)} }}"
        case DropElement(map=name, key=key, data=data):
            return f"delete @{name} {{ {keys_text(key, family)} : {keys_text(data, family)} }}"
        case SetMark(bits=bits):
            return f"meta mark set meta mark | {bits:#010x}"
        case FlipMark(bits=bits):
            return f"meta mark set meta mark ^ {bits:#010x}"
        case Masquerade():
            return "masquerade fully-random"
        case Reject():
            return "reject"
        case Verdict():
            return verdict_text(statement)


def verdict_text(verdict: Verdict) -> str:
    """A verdict, in a rule or in a map."""
    return f"{verdict.kind.value} {verdict.chain}" if verdict.chain else verdict.kind.value


def _match_text(statement: Match, family: Family) -> str:
    value = statement.value
    if isinstance(value, str):
        word = f'"{value}"'
    elif statement.key is Key.L4PROTO:
        word = PROTOCOL_NAMES.get(value, str(value))
    elif statement.key in (Key.SADDR_TYPE, Key.DADDR_TYPE):
        word = {2: "local"}.get(value, str(value))
    else:
        word = str(value)
    return f"{load_text(statement.key, family)} {'!= ' if statement.negate else ''}{word}"


def hook_text(hook: Hook) -> str:
    """The line that makes a chain a base chain."""
    priority = _PRIORITY_WORDS.get((hook.hook, hook.priority), str(hook.priority))
    return f"type {hook.type} hook {hook.hook} priority {priority}; policy accept;"


def set_type_text(spec: SetSpec, family: Family) -> str:
    """The line of a set or map that says what its elements are."""
    limits = f"; size {spec.size}; flags dynamic,timeout" if spec.is_dynamic else ""
    return _type_text(spec, family) + limits + ("; counter" if spec.counts else "")


def _type_text(spec: SetSpec, family: Family) -> str:
    if spec.has_typeof:
        return f"typeof {keys_text(spec.key, family)} : {keys_text(spec.data, family)}"
    key = " . ".join(_type_word(load, family) for load in spec.key)
    match spec.kind:
        case SetKind.SET:
            return f"type {key}"
        case SetKind.VERDICT_MAP:
            return f"type {key} : verdict"
        case SetKind.DATA_MAP:
            data = " . ".join(_type_word(load, family) for load in spec.data)
            return f"type {key} : {data}"


def _type_word(load: Field, family: Family) -> str:
    if load in (Key.SADDR, Key.DADDR):
        return "ipv4_addr" if family is Family.IPV4 else "ipv6_addr"
    assert isinstance(load, Key)
    return _TYPE_WORDS[load]


def set_word(spec: SetSpec) -> str:
    """``set`` or ``map``."""
    return "set" if spec.kind is SetKind.SET else "map"


def element_text(spec: SetSpec, key: bytes, data: Data, family: Family) -> str:
    """One element, as it stands between the braces."""
    left = " . ".join(unpack_fields(spec.key, key, family))
    match data:
        case None:
            return left
        case Verdict():
            return f"{left} : {verdict_text(data)}"
        case bytes():
            return f"{left} : " + " . ".join(unpack_fields(spec.data, data, family))
