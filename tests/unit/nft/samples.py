"""One of every statement, set and operation."""

from __future__ import annotations

from netproxy.model.ip import Family, parse_prefix
from netproxy.nft.expr import (
    DROP,
    RETURN,
    Dnat,
    DropElement,
    FlipMark,
    InSet,
    Key,
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
    SetMark,
    SourceNetwork,
    Statement,
    Verdict,
    VerdictKind,
    VerdictMap,
    goto,
    jump,
)
from netproxy.nft.objects import SetKind, SetSpec

V4, V6 = Family.IPV4, Family.IPV6
FRONTEND = (Key.DADDR, Key.L4PROTO, Key.DPORT)
TARGET = (Key.DADDR, Key.DPORT)
CLIENT, TICKET = (Key.SADDR_DADDR_HEAD,), (Key.DADDR,)

SPECS = {
    "addresses": SetSpec(SetKind.SET, (Key.DADDR,)),
    "frontends": SetSpec(SetKind.SET, FRONTEND),
    "ports": SetSpec(SetKind.SET, (Key.DPORT,)),
    "interfaces": SetSpec(SetKind.SET, (Key.IIFNAME,)),
    "networks": SetSpec(SetKind.SET, (*FRONTEND, Key.SADDR)),
    "services": SetSpec(SetKind.VERDICT_MAP, FRONTEND),
    "node-ports": SetSpec(SetKind.VERDICT_MAP, (Key.L4PROTO, Key.DPORT)),
    "endpoints": SetSpec(SetKind.DATA_MAP, (*FRONTEND, Numgen(2)), TARGET),
    "plain": SetSpec(SetKind.DATA_MAP, FRONTEND, TARGET),
    "tickets": SetSpec(SetKind.DATA_MAP, (*FRONTEND, Numgen(2)), TICKET),
    "holders": SetSpec(SetKind.DATA_MAP, (*TICKET, Key.L4PROTO), TARGET),
    "clients": SetSpec(SetKind.DATA_MAP, CLIENT, TICKET, is_dynamic=True, size=1000),
    "ports-map": SetSpec(SetKind.DATA_MAP, (Key.DPORT,), (Key.DPORT,)),
}

STATEMENTS: list[tuple[Statement, str]] = [
    (Match(Key.L4PROTO, 6), "meta l4proto tcp"),
    (Match(Key.L4PROTO, 17, negate=True), "meta l4proto != udp"),
    (Match(Key.L4PROTO, 132), "meta l4proto sctp"),
    (Match(Key.L4PROTO, 47), "meta l4proto 47"),
    (Match(Key.DPORT, 53), "th dport 53"),
    (Match(Key.DPORT, 65535, negate=True), "th dport != 65535"),
    (Match(Key.IIFNAME, "lo"), 'iifname "lo"'),
    (Match(Key.IIFNAME, "veth*", negate=True), 'iifname != "veth*"'),
    (Match(Key.IIFNAME, "a23456789012345"), 'iifname "a23456789012345"'),
    (Match(Key.SADDR_TYPE, 2), "fib saddr type local"),
    (Match(Key.DADDR_TYPE, 2, negate=True), "fib daddr type != local"),
    (MatchNewConnection(), "ct state new"),
    (MatchTranslated(), "ct status dnat"),
    (MatchMark(0x4000), "meta mark & 0x00004000 != 0x00000000"),
    (MatchMark(0x80000000), "meta mark & 0x80000000 != 0x00000000"),
    (InSet((Key.DPORT,), "ports"), "th dport @ports"),
    (InSet((Key.IIFNAME,), "interfaces", negate=True), "iifname != @interfaces"),
    (
        VerdictMap((Key.L4PROTO, Key.DPORT), "node-ports"),
        "meta l4proto . th dport vmap @node-ports",
    ),
    (SetMark(0x4000), "meta mark set meta mark | 0x00004000"),
    (FlipMark(0x4000), "meta mark set meta mark ^ 0x00004000"),
    (Masquerade(), "masquerade fully-random"),
    (Reject(), "reject"),
    (Verdict(VerdictKind.ACCEPT), "accept"),
    (DROP, "drop"),
    (RETURN, "return"),
    (jump("mark-for-masquerade"), "jump mark-for-masquerade"),
    (goto("services"), "goto services"),
]
"""The same text in both families."""

ADDRESSED: list[tuple[Family, Statement, str]] = [
    (V4, MatchPrefix(Key.SADDR, parse_prefix("10.0.0.0/8")), "ip saddr 10.0.0.0/8"),
    (V4, MatchPrefix(Key.DADDR, parse_prefix("10.0.0.0/9"), True), "ip daddr != 10.0.0.0/9"),
    (V4, MatchPrefix(Key.DADDR, parse_prefix("10.96.0.0/12")), "ip daddr 10.96.0.0/12"),
    (V4, MatchPrefix(Key.DADDR, parse_prefix("10.0.0.1/32")), "ip daddr 10.0.0.1"),
    (V4, MatchPrefix(Key.SADDR, parse_prefix("0.0.0.0/0")), "ip saddr 0.0.0.0/0"),
    (V6, MatchPrefix(Key.SADDR, parse_prefix("fd00::/8")), "ip6 saddr fd00::/8"),
    (V6, MatchPrefix(Key.SADDR, parse_prefix("::/0")), "ip6 saddr ::/0"),
    (V6, MatchPrefix(Key.DADDR, parse_prefix("fd00::/33")), "ip6 daddr fd00::/33"),
    (V6, MatchPrefix(Key.DADDR, parse_prefix("fd00::1/128"), True), "ip6 daddr != fd00::1"),
    (V4, InSet((Key.DADDR,), "addresses"), "ip daddr @addresses"),
    (V6, InSet((Key.DADDR,), "addresses", negate=True), "ip6 daddr != @addresses"),
    (
        V4,
        InSet((*FRONTEND, SourceNetwork(25)), "networks"),
        "ip daddr . meta l4proto . th dport . ip saddr & 255.255.255.128 @networks",
    ),
    (
        V6,
        InSet((*FRONTEND, SourceNetwork(33)), "networks"),
        "ip6 daddr . meta l4proto . th dport . ip6 saddr & ffff:ffff:8000:: @networks",
    ),
    (
        V4,
        VerdictMap(FRONTEND, "services"),
        "ip daddr . meta l4proto . th dport vmap @services",
    ),
    (
        V6,
        VerdictMap(FRONTEND, "services"),
        "ip6 daddr . meta l4proto . th dport vmap @services",
    ),
    (
        V4,
        InSet((Key.SADDR, Key.DADDR), "pairs"),
        "ip saddr . ip daddr @pairs",
    ),
    (
        V4,
        Dnat((*FRONTEND, Numgen(3)), "endpoints"),
        "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 3 map @endpoints",
    ),
    (
        V6,
        Dnat((*FRONTEND, Numgen(3, 7)), "endpoints"),
        "dnat ip6 to ip6 daddr . meta l4proto . th dport . numgen random mod 3 offset 7 "
        "map @endpoints",
    ),
    (
        V4,
        Dnat(FRONTEND, "plain"),
        "dnat ip to ip daddr . meta l4proto . th dport map @plain",
    ),
    (
        V4,
        Dnat((*TICKET, Key.L4PROTO), "holders"),
        "dnat ip to ip daddr . meta l4proto map @holders",
    ),
    (
        V6,
        RewriteDaddr((*FRONTEND, Numgen(3)), "tickets"),
        "ip6 daddr set ip6 daddr . meta l4proto . th dport . numgen random mod 3 map @tickets",
    ),
    (V4, RewriteDaddr(CLIENT, "clients"), "ip daddr set @nh,96,48 map @clients"),
    (V6, RewriteDaddr(CLIENT, "clients"), "ip6 daddr set @nh,64,160 map @clients"),
    (V4, RestoreDaddr(), "ip daddr set ct original ip daddr"),
    (V6, RestoreDaddr(), "ip6 daddr set ct original ip6 daddr"),
    (
        V4,
        PutElement("clients", CLIENT, TICKET, 10800),
        "update @clients { @nh,96,48 timeout 10800s : ip daddr }",
    ),
    (
        V6,
        PutElement("clients", CLIENT, TICKET, 1),
        "update @clients { @nh,64,160 timeout 1s : ip6 daddr }",
    ),
    (V4, DropElement("clients", CLIENT, TICKET), "delete @clients { @nh,96,48 : ip daddr }"),
    (V6, DropElement("clients", CLIENT, TICKET), "delete @clients { @nh,64,160 : ip6 daddr }"),
]

EVERYTHING: list[tuple[Family, Statement, str]] = [
    *((family, statement, text) for family in Family for statement, text in STATEMENTS),
    *ADDRESSED,
]
