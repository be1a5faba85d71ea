"""The fake refuses what the kernel refuses, and then nothing has happened."""

from __future__ import annotations

import errno

import pytest

from netproxy.errors import DataplaneError
from netproxy.nft.expr import DROP, Dnat, InSet, Key, Rule, VerdictMap, goto, jump
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import Chain, Data, Hook, Ruleset, SetKind, SetSpec
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
    describe,
)
from tests.unit.nft.samples import FRONTEND, SPECS, V4, V6

HOOK = Hook("nat", "prerouting", -100)
KEY = b"\x0a\x60\0\x01\x06\0\0\0\0\x50\0\0"
OTHER = b"\x0a\x60\0\x02\x06\0\0\0\0\x50\0\0"
TARGET = b"\x0a\x01\0\x01\x1f\x90\0\0"
SERVICES, PLAIN, PORTS = SPECS["services"], SPECS["plain"], SPECS["ports"]

SETUP: list[Operation] = [
    AddTable(),
    AddSet("services", SERVICES),
    AddSet("plain", PLAIN),
    AddSet("ports", PORTS),
    AddChain("web"),
    AddRule("web", Rule((Dnat(FRONTEND, "plain"),))),
    AddChain("pre", HOOK),
    AddRule("pre", Rule((VerdictMap(FRONTEND, "services"),))),
    AddElements("plain", PLAIN, [(KEY, TARGET)]),
    AddElements("services", SERVICES, [(KEY, goto("web"))]),
]


def _commit(table: FakeTable, *operations: Operation) -> None:
    table.commit(Transaction(table.family, "netproxy", list(operations)))


@pytest.fixture
def table() -> FakeTable:
    found = FakeTable(V4)
    _commit(found, *SETUP)
    return found


def _whole(table: FakeTable) -> Ruleset:
    return table.read(lambda _names: (), {})


def test_what_was_put_in_is_there(table: FakeTable) -> None:
    assert _whole(table) == Ruleset(
        V4,
        "netproxy",
        {
            "web": Chain((Rule((Dnat(FRONTEND, "plain"),)),)),
            "pre": Chain((Rule((VerdictMap(FRONTEND, "services"),)),), HOOK),
        },
        {"services": SERVICES, "plain": PLAIN, "ports": PORTS},
        {"services": {KEY: goto("web")}, "plain": {KEY: TARGET}, "ports": {}},
    )
    assert len(table.commits) == 1
    assert table.ruleset.exists


def test_a_copy_is_read(table: FakeTable) -> None:
    found = _whole(table)
    found.elements["plain"].clear()
    found.chains.clear()
    found.sets.clear()
    assert table.ruleset.chains
    assert table.ruleset.elements["plain"] == {KEY: TARGET}
    assert table.ruleset.sets


def _add(name: str, key: bytes, data: Data) -> AddElements:
    return AddElements(name, SPECS[name], [(key, data)])


REFUSED: list[tuple[Operation, int, str]] = [
    (FlushChain("none"), errno.ENOENT, "flush chain ip netproxy none: no chain none"),
    (DeleteChain("none"), errno.ENOENT, "delete chain ip netproxy none: no chain none"),
    (DeleteChain("pre"), errno.EBUSY, "delete chain ip netproxy pre: chain pre has rules"),
    (
        AddChain("web", HOOK),
        errno.EOPNOTSUPP,
        "add chain ip netproxy web: chain web is hooked otherwise",
    ),
    (
        AddRule("none", Rule((DROP,))),
        errno.ENOENT,
        "add rule to chain ip netproxy none: no chain none",
    ),
    (
        AddRule("web", Rule((jump("none"),))),
        errno.ENOENT,
        "add rule to chain ip netproxy web: no chain none",
    ),
    (
        AddRule("web", Rule((InSet((Key.DPORT,), "none"),))),
        errno.ENOENT,
        "add rule to chain ip netproxy web: no set none",
    ),
    (
        AddRule("web", Rule((InSet(FRONTEND, "ports"),))),
        errno.EINVAL,
        "add rule to chain ip netproxy web: wrong key for ports",
    ),
    (
        AddSet("ports", SERVICES),
        errno.EEXIST,
        "add set ip netproxy ports: set ports is declared otherwise",
    ),
    (DeleteSet("none"), errno.ENOENT, "delete set ip netproxy none: no set none"),
    (DeleteSet("plain"), errno.EBUSY, "delete set ip netproxy plain: set plain is in use"),
    (DeleteSet("services"), errno.EBUSY, "delete set ip netproxy services: set services is in use"),
    (
        AddElements("none", PORTS, []),
        errno.ENOENT,
        "add elements to ip netproxy none: no set none",
    ),
    (
        AddElements("plain", PORTS, []),
        errno.EINVAL,
        "add elements to ip netproxy plain: set plain is declared otherwise",
    ),
    (
        _add("plain", KEY, TARGET[::-1]),
        errno.EEXIST,
        f"add elements to ip netproxy plain: element {KEY.hex()} has other data",
    ),
    (
        _add("plain", KEY[:-1], TARGET),
        errno.EINVAL,
        f"add elements to ip netproxy plain: key {KEY[:-1].hex()} has the wrong length",
    ),
    (
        _add("plain", OTHER, TARGET[:-1]),
        errno.EINVAL,
        "add elements to ip netproxy plain: the data has the wrong length",
    ),
    (
        _add("plain", OTHER, None),
        errno.EINVAL,
        "add elements to ip netproxy plain: the data has the wrong length",
    ),
    (
        _add("ports", b"\0\x50", b"x"),
        errno.EINVAL,
        "add elements to ip netproxy ports: a set's element has no data",
    ),
    (
        _add("services", OTHER, TARGET),
        errno.EINVAL,
        "add elements to ip netproxy services: the data is no verdict",
    ),
    (
        _add("services", OTHER, goto("none")),
        errno.ENOENT,
        "add elements to ip netproxy services: no chain none",
    ),
    (
        DeleteElements("plain", PLAIN, [(OTHER, None)]),
        errno.ENOENT,
        f"delete elements from ip netproxy plain: no element {OTHER.hex()}",
    ),
    (
        ReplaceElements("plain", PLAIN, [(OTHER, TARGET, TARGET)]),
        errno.ENOENT,
        f"replace elements of ip netproxy plain: no element {OTHER.hex()}",
    ),
    (
        ReplaceElements("services", SERVICES, [(KEY, goto("web"), goto("none"))]),
        errno.ENOENT,
        "replace elements of ip netproxy services: no chain none",
    ),
]


@pytest.mark.parametrize(("operation", "number", "message"), REFUSED)
def test_all_or_nothing(table: FakeTable, operation: Operation, number: int, message: str) -> None:
    before = _whole(table)
    harmless: list[Operation] = [
        AddChain("new"),
        AddRule("web", Rule((DROP,))),
        AddSet("more", PORTS),
        AddElements("plain", PLAIN, [(b"\xff" * 12, TARGET)]),
        ReplaceElements("plain", PLAIN, [(KEY, TARGET, TARGET[::-1])]),
        ReplaceElements("plain", PLAIN, [(KEY, TARGET[::-1], TARGET)]),
        DeleteElements("plain", PLAIN, [(b"\xff" * 12, None)]),
    ]
    with pytest.raises(DataplaneError) as caught:
        _commit(table, *harmless, operation)
    assert caught.value.message == f"cannot {message} ({errno.errorcode[number]})"
    assert caught.value.errno == number
    assert _whole(table) == before
    assert len(table.commits) == 1
    _commit(table, *harmless)
    assert _whole(table) != before


@pytest.mark.parametrize("operation", [*SETUP[1:], DeleteTable()])
def test_nothing_goes_without_a_table(operation: Operation) -> None:
    table = FakeTable(V6)
    with pytest.raises(DataplaneError, match=r"no such table \(ENOENT\)$"):
        _commit(table, operation)
    assert _whole(table) == Ruleset.empty(V6, "netproxy")


def test_a_table_is_deleted_with_all_that_is_in_it(table: FakeTable) -> None:
    _commit(table, DeleteTable())
    assert _whole(table) == Ruleset.empty(V4, "netproxy")
    assert not table.ruleset.exists
    with pytest.raises(DataplaneError):
        _commit(table, AddChain("web"))


def test_what_is_there_may_be_said_again(table: FakeTable) -> None:
    before = _whole(table)
    _commit(
        table,
        AddTable(),
        AddSet("plain", PLAIN),
        AddChain("web"),
        AddChain("pre", HOOK),
        AddElements("plain", PLAIN, [(KEY, TARGET)]),
    )
    assert _whole(table) == before


def test_a_chain_goes_when_nothing_leads_to_it(table: FakeTable) -> None:
    with pytest.raises(DataplaneError, match=r"chain web is in use \(EBUSY\)"):
        _commit(table, FlushChain("web"), DeleteChain("web"))
    _commit(
        table,
        DeleteElements("services", SERVICES, [(KEY, None)]),
        AddChain("caller"),
        AddRule("caller", Rule((jump("web"),))),
    )
    with pytest.raises(DataplaneError, match=r"chain web is in use \(EBUSY\)"):
        _commit(table, FlushChain("web"), DeleteChain("web"))
    _commit(table, FlushChain("caller"), FlushChain("web"), DeleteChain("web"))
    assert "web" not in table.ruleset.chains
    _commit(table, DeleteSet("plain"))
    assert "plain" not in table.ruleset.sets
    assert "plain" not in table.ruleset.elements


DESCRIBED: list[tuple[Operation, str, str]] = [
    (AddTable(), "add table", "ip6 t"),
    (DeleteTable(), "delete table", "ip6 t"),
    (AddChain("c"), "add chain", "ip6 t c"),
    (FlushChain("c"), "flush chain", "ip6 t c"),
    (DeleteChain("c"), "delete chain", "ip6 t c"),
    (AddRule("c", Rule(())), "add rule", "to chain ip6 t c"),
    (AddSet("s", PORTS), "add set", "ip6 t s"),
    (DeleteSet("s"), "delete set", "ip6 t s"),
    (AddElements("s", PORTS, []), "add elements", "to ip6 t s"),
    (DeleteElements("s", PORTS, []), "delete elements", "from ip6 t s"),
    (ReplaceElements("s", PORTS, []), "replace elements", "of ip6 t s"),
]


@pytest.mark.parametrize(("operation", "words", "subject"), DESCRIBED)
def test_operations_in_words(operation: Operation, words: str, subject: str) -> None:
    assert describe(Transaction(V6, "t", [operation]), operation) == (words, subject)


def test_the_size_of_a_transaction() -> None:
    spec = SetSpec(SetKind.SET, (Key.DPORT,))
    transaction = Transaction(
        V4,
        "t",
        [
            AddTable(),
            AddChain("c"),
            AddElements("s", spec, [(b"\0\1", None), (b"\0\2", None)]),
            DeleteElements("s", spec, [(b"\0\3", None)]),
            ReplaceElements("s", spec, [(b"\0\4", None, None)] * 5),
        ],
    )
    assert (transaction.added(), transaction.deleted(), transaction.size()) == (7, 6, 10)
    assert transaction
    assert not Transaction(V4, "t", [])
