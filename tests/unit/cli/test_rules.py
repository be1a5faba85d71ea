"""One pass over the rules: what is printed, what is touched, which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from netproxy.cli import run_command_line
from netproxy.errors import EXIT_BAD_INPUT, EXIT_DIFFERENT, EXIT_KERNEL, EXIT_OK, DataplaneError
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Event, Listed, ModelObject, Upsert
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node
from netproxy.model.service import Service, ServicePort
from netproxy.nft.fake import FakeTable
from netproxy.nft.transaction import AddTable, DeleteTable, Transaction

WEB = ServiceKey("default", "web")
SERVICE = Service(WEB, (ServicePort("http", "TCP", 80),), (IPAddress("10.96.0.7"),))
SLICE = EndpointSlice(
    WEB,
    "web-1",
    Family.IPV4,
    (SlicePort("http", "TCP", 8080),),
    (Endpoint(IPAddress("10.0.0.1")), Endpoint(IPAddress("10.0.0.2"))),
)
BROKEN = Diagnostic(Severity.ERROR, "", "", "is no YAML", "b.yaml", 3)
ODD = Diagnostic(Severity.WARNING, "Service default/web", "spec", "is odd", "a.yaml", 1)
FLAGS = ("-f", "a.yaml", "--hostname-override", "node-1", "--node-ip", "192.0.2.1")


class Manifests(NamedTuple):
    """What the manifests of this test say."""

    objects: Sequence[ModelObject] = (SERVICE, SLICE)
    diagnostics: Sequence[Diagnostic] = ()
    complete: bool = True


class Batch(NamedTuple):
    events: Sequence[Event]
    diagnostics: Sequence[Diagnostic] = ()
    trigger_times: Sequence[float] = ()


class World:
    """The manifests and the kernel of a test."""

    def __init__(self) -> None:
        self.manifests = Manifests()
        self.tables = {family: FakeTable(family) for family in Family}
        self.trouble: DataplaneError | None = None

    def read_manifests(self, paths: Sequence[str]) -> Manifests:
        assert paths == ("a.yaml",)
        return self.manifests

    async def watch_manifests(self, paths: Sequence[str]) -> AsyncGenerator[Batch, None]:
        assert paths == ("a.yaml",)
        yield Batch([*map(Upsert, self.manifests.objects), Listed()])
        await asyncio.sleep(0.01)  # the sync begins at once, and is taken to its end
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    def rules(self) -> dict[str, int]:
        """Elements per map, of IPv4."""
        elements = self.tables[Family.IPV4].ruleset.elements
        return {name: len(items) for name, items in elements.items() if items}

    def commits(self) -> int:
        return sum(len(table.commits) for table in self.tables.values())


class FakeKernelTable(FakeTable):
    """A fake with what ``cleanup`` asks of the kernel's."""

    def __init__(self, world: World, family: Family) -> None:
        super().__init__(family)
        self._world = world
        self.label = f"table {family.label}"

    def commit(self, transaction: Transaction) -> None:
        if self._world.trouble is not None:
            raise self._world.trouble
        super().commit(transaction)

    def exists(self) -> bool:
        return bool(self.ruleset.chains)

    def delete(self) -> None:
        self.commit(Transaction(self.family, "netproxy", [AddTable(), DeleteTable()]))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    made.tables = {family: FakeKernelTable(made, family) for family in Family}

    class Tables:
        def __init__(self, table: str, families: Iterable[Family], *, listen: bool = False) -> None:
            assert not listen
            is_ours = table == "netproxy"
            self.by_family = {family: made.tables[family] for family in families if is_ours}
            self.listener = None

        def close(self) -> None:
            pass

        def __enter__(self) -> Tables:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

    source = ModuleType("netproxy.sources.manifests")
    vars(source).update(read_manifests=made.read_manifests, watch_manifests=made.watch_manifests)
    monkeypatch.setitem(sys.modules, source.__name__, source)
    monkeypatch.setattr("netproxy.kernel.nftables.Tables", Tables)
    monkeypatch.setattr("netproxy.leftovers.NftTables", Tables)
    monkeypatch.setattr("netproxy.leftovers.installed_variants", list)
    return made


Captured = pytest.CaptureFixture[str]


def json_of(capsys: Captured) -> Any:
    return json.loads(capsys.readouterr().out)


def test_sync_programs_and_says_what_it_did(world: World, capsys: Captured) -> None:
    assert run_command_line(["sync", *FLAGS]) == EXIT_OK
    assert world.rules()["endpoints"] == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert "1 services, 2 endpoints" in out


def test_sync_again_changes_nothing(world: World, capsys: Captured) -> None:
    run_command_line(["sync", *FLAGS])
    capsys.readouterr()
    before = world.commits()
    assert run_command_line(["sync", *FLAGS, "-o", "json"]) == EXIT_OK
    assert world.commits() == before
    found = json_of(capsys)
    assert [each["operations"] for each in found["families"]] == [0, 0]
    assert (found["services"], found["endpoints"]) == (1, 2)


def test_sync_removes_what_is_gone(world: World) -> None:
    run_command_line(["sync", *FLAGS])
    world.manifests = Manifests(objects=())
    assert run_command_line(["sync", *FLAGS]) == EXIT_OK
    assert "endpoints" not in world.rules()


def test_a_broken_file_removes_nothing(world: World, capsys: Captured) -> None:
    run_command_line(["sync", *FLAGS])
    newer = SERVICE._replace(
        key=ServiceKey("default", "new"), cluster_ips=(IPAddress("10.96.0.8"),)
    )
    world.manifests = Manifests(objects=(newer,), diagnostics=(BROKEN,), complete=False)
    capsys.readouterr()
    assert run_command_line(["sync", *FLAGS]) == EXIT_BAD_INPUT
    assert world.rules()["endpoints"] == 2
    assert world.rules()["cluster-ips"] == 2
    err = capsys.readouterr().err
    assert err.startswith("error: b.yaml:3: is no YAML\n")
    assert "nothing was removed from the kernel" in err


@pytest.mark.parametrize("verb", ["sync", "render", "diff"])
def test_nothing_read_means_nothing_touched(verb: str, world: World, capsys: Captured) -> None:
    world.manifests = Manifests(objects=(), diagnostics=(BROKEN,), complete=False)
    assert run_command_line([verb, *FLAGS]) == EXIT_BAD_INPUT
    assert world.commits() == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing could be read" in err


@pytest.mark.parametrize(("finding", "code"), [(BROKEN, EXIT_BAD_INPUT), (ODD, EXIT_OK)])
def test_errors_in_objects_fail_and_warnings_do_not(
    finding: Diagnostic, code: int, world: World
) -> None:
    world.manifests = Manifests(diagnostics=(finding,))
    assert run_command_line(["sync", *FLAGS]) == code
    assert world.rules()["endpoints"] == 2


def test_a_refusal_of_the_kernel(world: World, capsys: Captured) -> None:
    world.trouble = DataplaneError(operation="add chain", subject="x", errno=95, hint="upgrade")
    assert run_command_line(["sync", *FLAGS]) == EXIT_KERNEL
    err = capsys.readouterr().err
    assert err.startswith("netproxy: error: cannot add chain x: ")
    assert err.endswith("hint: upgrade\n")


def test_a_dry_sync_prints_commands_and_touches_nothing(world: World, capsys: Captured) -> None:
    assert run_command_line(["sync", *FLAGS, "--dry-run"]) == EXIT_OK
    assert world.commits() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "add table ip netproxy"
    assert any(line.startswith("add element ip netproxy endpoints") for line in lines)


def test_diff_speaks_by_exit_code(world: World, capsys: Captured) -> None:
    assert run_command_line(["diff", *FLAGS]) == EXIT_DIFFERENT
    assert world.commits() == 0
    run_command_line(["sync", *FLAGS])
    capsys.readouterr()
    assert run_command_line(["diff", *FLAGS]) == EXIT_OK
    assert capsys.readouterr().out == ""
    assert run_command_line(["diff", *FLAGS, "-o", "json"]) == EXIT_OK
    assert json_of(capsys) == {"transactions": []}


def test_render_is_a_file_for_nft(world: World, capsys: Captured) -> None:
    assert run_command_line(["render", *FLAGS]) == EXIT_OK
    out, err = capsys.readouterr()
    assert err == ""
    assert "the rules of node node-1" in out.splitlines()[1]
    assert "table ip netproxy {" in out
    assert "# default/web:http" in out


def test_render_for_programs(world: World, capsys: Captured) -> None:
    assert run_command_line(["render", *FLAGS, "-o", "json"]) == EXIT_OK
    assert [each["family"] for each in json_of(capsys)["transactions"]] == ["ip", "ip6"]


NODEPORT = SERVICE._replace(ports=(ServicePort("http", "TCP", 80, 30080),))
OURS = Node("node-1", addresses=(IPAddress("192.0.2.1"),))


@pytest.mark.parametrize(
    ("objects", "flags", "is_told"),
    [
        ((NODEPORT,), (), True),
        ((SERVICE,), (), False),
        ((NODEPORT,), ("--node-ip", "192.0.2.1"), False),
        ((NODEPORT, OURS), (), False),
        ((NODEPORT, OURS._replace(name="node-2")), (), True),
        ((NODEPORT,), ("--nodeport-addresses", "0.0.0.0/0"), False),
        ((NODEPORT, OURS), ("--nodeport-addresses", "192.0.2.0/24"), True),
    ],
)
def test_render_says_when_nodeports_lead_nowhere(
    objects: Sequence[ModelObject],
    flags: tuple[str, ...],
    is_told: bool,
    world: World,
    capsys: Captured,
) -> None:
    world.manifests = Manifests(objects=objects)
    arguments = ["render", "-f", "a.yaml", "--hostname-override", "node-1", *flags]
    assert run_command_line(arguments) == EXIT_OK
    assert ("NodePorts lead nowhere" in capsys.readouterr().err) is is_told


def test_cleanup_removes_and_lists(world: World, capsys: Captured) -> None:
    run_command_line(["sync", *FLAGS])
    capsys.readouterr()
    assert run_command_line(["cleanup", "--dry-run"]) == EXIT_OK
    assert capsys.readouterr().out == "would remove table IPv4\nwould remove table IPv6\n"
    assert run_command_line(["cleanup", "-o", "json"]) == EXIT_OK
    assert json_of(capsys) == {
        "removed": ["table IPv4", "table IPv6"],
        "spared": [],
        "dryRun": False,
    }
    assert run_command_line(["cleanup"]) == EXIT_OK
    assert capsys.readouterr().out == "nothing to remove\n"


@pytest.mark.parametrize("flags", [(), ("-o", "json")])
def test_a_dry_daemon_prints_each_transaction(
    flags: tuple[str, ...], world: World, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netproxy.log.configure", lambda **_: None)
    assert run_command_line(["run", *FLAGS, "--dry-run", *flags]) == EXIT_OK
    out = capsys.readouterr().out
    assert world.commits() == 0
    if flags:
        assert [json.loads(line)["family"] for line in out.splitlines()] == ["ip", "ip6"]
    else:
        assert out.startswith("add table ip netproxy\n")
