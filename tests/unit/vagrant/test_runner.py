"""``./dev vm`` without machines: which way is chosen, what a box is called, what the end says."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagrant.box import name_of
from vagrant.choose import ChoiceError, choose_way
from vagrant.driver import LIBVIRT, QEMU, QEMU_EMULATED, WAYS
from vagrant.layout import NOT_COPIED, VAGRANT, plan_machines
from vagrant.report import closing_line, read_report

NOTHING = {way: lambda: "not here" for way in WAYS}
SUITE = (
    '<testsuites><testsuite name="node1" errors="0" failures="1" skipped="2" tests="9" time="1.5">'
)


def test_the_best_way_that_works_is_taken() -> None:
    everything = {way: lambda: "" for way in WAYS}
    assert choose_way(None, everything) == (LIBVIRT, "")
    way, why = choose_way(None, NOTHING | {QEMU_EMULATED: lambda: ""})
    assert way is QEMU_EMULATED
    assert why.count("not here") == len(WAYS) - 1


def test_a_way_that_is_wanted_is_taken_or_nothing() -> None:
    everything = {way: lambda: "" for way in WAYS}
    assert choose_way("qemu", everything)[0] is QEMU
    with pytest.raises(ChoiceError, match="qemu: not here"):
        choose_way("qemu", NOTHING)


def test_where_nothing_works_it_is_said_of_each_way() -> None:
    with pytest.raises(ChoiceError) as caught:
        choose_way(None, NOTHING)
    for way in WAYS:
        assert f"{way.name}: not here" in str(caught.value)


def test_a_box_is_called_after_what_it_is_made_of() -> None:
    inputs = {"a": b"1", "b": b"2"}
    assert name_of(inputs) == name_of(dict(reversed(inputs.items())))
    others = [{"a": b"1"}, {"a": b"1", "b": b"3"}, {"a": b"12", "b": b""}, {"ab": b"12"}]
    assert len({name_of(each) for each in [inputs, *others]}) == 5


def leave(directory: Path, suite: str, verdict: str) -> Path:
    directory.mkdir()
    (directory / "junit.xml").write_text(suite)
    (directory / "verdict").write_text(verdict)
    return directory


def test_what_machines_said_becomes_one_line(tmp_path: Path) -> None:
    bad = read_report("node1", leave(tmp_path / "node1", SUITE, "1\n"))
    assert not bad.is_good
    assert str(bad) == "1 failed, 6 passed, 2 skipped in 1.50s; pytest: 1"
    fine = SUITE.replace('failures="1"', 'failures="0"')
    good = read_report("node2", leave(tmp_path / "node2", fine, "0"))
    assert good.is_good
    line = closing_line([bad, good])
    assert line.strip("= ") == "1 failed, 13 passed, 4 skipped in 3.00s"


@pytest.mark.parametrize(
    ("suite", "verdict"),
    [
        ("<nothing/>", "0"),
        (SUITE.replace('failures="1"', 'failures="0"'), "137"),
        (SUITE.replace('tests="9"', 'tests="3"'), "0"),
    ],
)
def test_a_machine_that_did_not_run_its_tests_is_not_good(
    tmp_path: Path, suite: str, verdict: str
) -> None:
    assert not read_report("node1", leave(tmp_path / "node1", suite, verdict)).is_good


def test_a_machine_that_left_nothing_is_not_good(tmp_path: Path) -> None:
    report = read_report("client", tmp_path / "client")
    assert not report.is_good
    assert "no results" in str(report)


def test_vagrantfile_and_the_runner_mean_the_same_machines() -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    for each in NOT_COPIED:
        assert each in text
    assert [machine.name for machine in plan_machines(1)] == ["node1"]
    assert {machine.address for machine in plan_machines(2)} == {
        "192.168.56.10",
        "192.168.56.11",
        "192.168.56.12",
    }
