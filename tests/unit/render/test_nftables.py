"""Transactions as text and as JSON; and names that would like to be commands."""

from __future__ import annotations

import json
from ipaddress import ip_address
from pathlib import Path
from typing import get_args

import jinja2
import pytest

from netproxy.errors import ConfigError
from netproxy.model.ip import Family
from netproxy.nft.expr import DROP, Dnat, Rule, VerdictMap, goto
from netproxy.nft.objects import Hook
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
from netproxy.render import environment
from netproxy.render.environment import fill_in, one_line, templates_dir
from netproxy.render.nftables import (
    Annotations,
    render_ruleset,
    render_transaction,
    transaction_to_json,
)
from tests.unit.nft.samples import FRONTEND, SPECS, V4, V6

SERVICES, PLAIN, PORTS = SPECS["services"], SPECS["plain"], SPECS["ports"]
TCP80 = b"\x06\0\0\0\0\x50\0\0"
KEY = ip_address("10.96.0.1").packed + TCP80
SECOND = ip_address("10.96.0.2").packed + TCP80
KEY6 = ip_address("fd00::1").packed + TCP80
TARGET = ip_address("10.1.0.1").packed + b"\x1f\x90\0\0"
HOOK = Hook("nat", "prerouting", -100)


def _describe(name: str) -> str:
    return {"services": "where packets go", "web": "one service"}.get(name, "")


FOUR = Transaction(
    V4,
    "netproxy",
    [
        AddTable(),
        AddSet("services", SERVICES),
        AddSet("plain", PLAIN),
        AddSet("ports", PORTS),
        AddChain("web"),
        AddChain("empty"),
        AddRule("web", Rule((Dnat(FRONTEND, "plain"),), "first")),
        AddRule("web", Rule((DROP,))),
        AddChain("pre", HOOK),
        AddRule("pre", Rule((VerdictMap(FRONTEND, "services"),))),
        AddElements("plain", PLAIN, [(KEY, TARGET)]),
        AddElements("services", SERVICES, [(KEY, goto("web"))]),
        AddElements("services", SERVICES, [(SECOND, DROP)]),
    ],
)
SIX = Transaction(
    V6,
    "netproxy",
    [
        AddTable(),
        AddSet("services", SERVICES),
        AddElements("services", SERVICES, [(KEY6, DROP)]),
    ],
)

GOLDEN = """\
#!/usr/sbin/nft -f
# two families
# Loading this file replaces what is in its tables, all at once.

add table ip netproxy
delete table ip netproxy
table ip netproxy {
	# where packets go
	map services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = {
			10.96.0.1 . tcp . 80 : goto web,	# default/web
			10.96.0.2 . tcp . 80 : drop
		}
	}

	map plain {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = {
			10.96.0.1 . tcp . 80 : 10.1.0.1 . 8080	# default/web
		}
	}

	set ports {
		type inet_service
	}

	# one service
	chain web {
		dnat ip to ip daddr . meta l4proto . th dport map @plain comment "first"
		drop
	}

	chain empty {
	}

	chain pre {
		type nat hook prerouting priority dstnat; policy accept;
		ip daddr . meta l4proto . th dport vmap @services
	}
}

add table ip6 netproxy
delete table ip6 netproxy
table ip6 netproxy {
	map services {
		type ipv6_addr . inet_proto . inet_service : verdict
		elements = {
			fd00::1 . tcp . 80 : drop
		}
	}

}
"""


def test_a_whole_ruleset() -> None:
    notes = {V4: Annotations({KEY: "default/web"}, _describe)}
    assert render_ruleset([FOUR, SIX], notes, title="two families") == GOLDEN


def test_a_key_with_an_index_belongs_to_its_frontend() -> None:
    spec = SPECS["endpoints"]
    operation = AddElements("endpoints", spec, [(KEY + bytes(4), TARGET)])
    text = render_transaction(
        Transaction(V4, "netproxy", [operation]), Annotations({KEY: "default/web"})
    )
    assert text == (
        "add element ip netproxy endpoints "
        "{ 10.96.0.1 . tcp . 80 . 0 : 10.1.0.1 . 8080 }\t# default/web\n"
    )


OPERATIONS: list[tuple[Operation, str, dict[str, object]]] = [
    (AddTable(), "add table ip netproxy", {}),
    (DeleteTable(), "delete table ip netproxy", {}),
    (AddChain("web"), "add chain ip netproxy web", {"chain": "web"}),
    (
        AddChain("pre", HOOK),
        "add chain ip netproxy pre { type nat hook prerouting priority dstnat; policy accept; }",
        {"chain": "pre", "hook": {"type": "nat", "hook": "prerouting", "priority": -100}},
    ),
    (FlushChain("web"), "flush chain ip netproxy web", {"chain": "web"}),
    (DeleteChain("web"), "delete chain ip netproxy web", {"chain": "web"}),
    (
        AddRule("web", Rule((DROP,), "no")),
        'add rule ip netproxy web drop comment "no"',
        {"chain": "web", "rule": 'drop comment "no"'},
    ),
    (
        AddSet("ports", PORTS),
        "add set ip netproxy ports { type inet_service; }",
        {"set": "ports", "type": "type inet_service"},
    ),
    (
        AddSet("services", SERVICES),
        "add map ip netproxy services { type ipv4_addr . inet_proto . inet_service : verdict; }",
        {
            "set": "services",
            "type": "type ipv4_addr . inet_proto . inet_service : verdict",
        },
    ),
    (DeleteSet("ports"), "delete set ip netproxy ports", {"set": "ports"}),
    (
        AddElements("ports", PORTS, [(b"\0\x50", None), (b"\0\x51", None)]),
        "add element ip netproxy ports { 80 }\nadd element ip netproxy ports { 81 }",
        {"set": "ports", "elements": ["80", "81"]},
    ),
    (
        DeleteElements("services", SERVICES, [(KEY, goto("web"))]),
        "delete element ip netproxy services { 10.96.0.1 . tcp . 80 : goto web }",
        {"set": "services", "elements": ["10.96.0.1 . tcp . 80 : goto web"]},
    ),
    (
        ReplaceElements("services", SERVICES, [(KEY, goto("web"), DROP)]),
        "delete element ip netproxy services { 10.96.0.1 . tcp . 80 : goto web }\n"
        "add element ip netproxy services { 10.96.0.1 . tcp . 80 : drop }",
        {
            "set": "services",
            "old": ["10.96.0.1 . tcp . 80 : goto web"],
            "elements": ["10.96.0.1 . tcp . 80 : drop"],
        },
    ),
]


@pytest.mark.parametrize(("operation", "text", "value"), OPERATIONS)
def test_every_operation(operation: Operation, text: str, value: dict[str, object]) -> None:
    transaction = Transaction(V4, "netproxy", [operation])
    assert render_transaction(transaction) == text + "\n"
    expected = {"op": type(operation).__name__, **value}
    found = transaction_to_json(transaction)
    assert found == {"family": "ip", "table": "netproxy", "operations": [expected]}
    assert json.loads(json.dumps(found)) == found


def test_no_operation_is_left_out() -> None:
    assert {type(operation) for operation, _, _ in OPERATIONS} == set(get_args(Operation))


def test_operations_stay_in_order() -> None:
    chosen: list[Operation] = [FlushChain("b"), AddChain("a"), DeleteChain("b")]
    assert render_transaction(Transaction(V6, "t", chosen)).splitlines() == [
        "flush chain ip6 t b",
        "add chain ip6 t a",
        "delete chain ip6 t b",
    ]
    assert render_transaction(Transaction(V6, "t", [])) == ""


EVIL = [
    "web\nflush ruleset",
    "web }\n}\ndelete table ip netproxy",
    "web\r\nflush ruleset",
    "web\x0bflush ruleset",
    "web\x0cflush ruleset",
    "web\x85flush ruleset",
    "web\u2028flush ruleset",
    "web\x1b[2J",
    "web\0flush ruleset",
    'web" ; flush ruleset',
    "{{ 7 * 7 }}{% raw %}",
]


@pytest.mark.parametrize("evil", EVIL)
def test_no_name_leaves_its_comment(evil: str) -> None:
    def render(name: str) -> str:
        notes = {V4: Annotations({KEY: name}, lambda _name: name)}
        whole = render_ruleset([FOUR], notes, title=name)
        return whole + render_transaction(FOUR, notes[V4])

    def commands(text: str) -> list[str]:
        return [line.partition("#")[0] for line in text.splitlines()]

    found = render(evil)
    assert commands(found) == commands(render("web"))
    assert one_line(evil) in found
    assert all(c.isprintable() or c in "\n\t" for c in found)


@pytest.mark.parametrize("evil", EVIL)
def test_one_line(evil: str) -> None:
    found = one_line(evil)
    assert found.isprintable()
    assert len(found) == len(evil)
    assert len(found.splitlines()) == 1


def test_one_line_leaves_words_alone() -> None:
    assert one_line("größe: 3 # x") == "größe: 3 # x"
    assert one_line(3) == "3"


def test_templates_are_found_where_one_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = templates_dir()
    assert (usual / "transaction.nft.j2").is_file()
    (tmp_path / "ruleset.nft.j2").write_text("{{ title }}!")
    monkeypatch.setenv("NETPROXY_TEMPLATE_DIR", str(tmp_path))
    assert templates_dir() == tmp_path
    assert render_ruleset([], {}, title="mine") == "mine!"
    monkeypatch.setenv("NETPROXY_TEMPLATE_DIR", str(tmp_path / "nowhere"))
    assert templates_dir() == usual


def test_no_templates_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETPROXY_TEMPLATE_DIR", raising=False)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(ConfigError, match=r"^NETPROXY_TEMPLATE_DIR: no templates in ") as caught:
        templates_dir()
    assert caught.value.hint


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill_in("transaction.nft.j2", {})


def test_words_for_families_in_json() -> None:
    assert [transaction_to_json(Transaction(f, "t", []))["family"] for f in Family] == ["ip", "ip6"]
