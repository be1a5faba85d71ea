"""The table at the end of a test run, and the checklist behind it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from netproxy.core.config import ProxyMode
from netproxy.model.ip import Family
from tests.conformance import PACKETS, PAPER, Asked, Conformance, Sighting
from tests.scenarios.features import ABSENT, FEATURES, ROWS_OF_FLOWS, reason_for_nothing
from tests.scenarios.mirror import all_stories

TESTS = Path(__file__).parent.parent
ROW, OTHER = "cluster-ip.forward", "nodeport.localhost"
NFTABLES, IPTABLES = ProxyMode


SEEN = Sighting(ROW, NFTABLES, Family.IPV4, PAPER, "some-file", passed=True)


def _gather(*sightings: Sighting, expected: tuple[Asked, ...] = ()) -> Conformance:
    conformance = Conformance(lambda: expected or ((PAPER, NFTABLES, "never"),))
    for one in sightings:
        conformance.add(one)
    return conformance


def _cells(conformance: Conformance, feature: str = ROW) -> list[str]:
    """Of one line, without its title."""
    (line,) = [each for each in conformance.table() if each.startswith(f"{feature}:")]
    return re.split(r" {2,}", line)[1:]


def test_a_scenario_counts_once_whatever_the_number_of_its_tests() -> None:
    seen = _gather(SEEN, SEEN, SEEN._replace(scenario="another"), SEEN._replace(medium=PACKETS))
    assert _cells(seen) == ["2/1"]


def test_a_scenario_has_failed_if_one_of_its_tests_has() -> None:
    seen = _gather(SEEN, SEEN._replace(passed=False), SEEN, SEEN._replace(scenario="another"))
    assert _cells(seen) == ["1/. FAIL 1"]


def test_columns_are_modes_and_families() -> None:
    seen = _gather(
        *(SEEN._replace(mode=mode, family=family) for mode in ProxyMode for family in Family)
    )
    assert _cells(seen) == ["1/."] * 4
    assert any(re.search(r"nftables +iptables$", line) for line in seen.table())
    assert any(re.search(r"IPv4 +IPv6 +IPv4 +IPv6$", line) for line in seen.table())


def test_an_incomplete_run_shows_what_was_asked_and_finds_no_fault() -> None:
    seen = _gather(SEEN)
    lines = seen.table()
    assert [line for line in lines if line.split(":")[0] in FEATURES] != []
    assert not any(line.startswith(f"{OTHER}:") for line in lines)
    assert any("Not everything was asked" in line for line in lines)
    assert seen.faults() == []


def test_a_complete_run_with_a_hole_has_failed() -> None:
    seen = _gather(SEEN, expected=((PAPER, NFTABLES, "some-file"),))
    assert _cells(seen) == ["1/.", "HOLE", "HOLE", "HOLE"]
    assert f"{ROW}, nftables, IPv6: no scenario, and no reason why" in seen.faults()
    assert not any(fault.startswith(f"{ROW}, nftables, IPv4") for fault in seen.faults())
    assert any(line.startswith(f"FAILED {ROW}, nftables, IPv6") for line in seen.table())


def test_an_empty_cell_with_a_reason_is_no_hole() -> None:
    seen = _gather(SEEN, expected=((PAPER, NFTABLES, "some-file"),))
    first, second, *_ = _cells(seen, OTHER)
    assert first == second
    assert re.fullmatch(r"-\d", first)
    reason = reason_for_nothing(OTHER, NFTABLES, Family.IPV4)
    assert f"{first}: {reason}" in seen.table()
    assert not any(fault.startswith(f"{OTHER}, nftables") for fault in seen.faults())


def test_a_reason_for_a_cell_that_is_full_is_a_fault() -> None:
    seen = _gather(SEEN._replace(feature=OTHER), expected=((PAPER, NFTABLES, "some-file"),))
    assert any("the reason can go" in fault for fault in seen.faults())


@pytest.mark.slow
def test_every_row_has_a_scenario_or_a_reason() -> None:
    covered = {row for mode in ProxyMode for story in all_stories(mode) for row, _ in story.covers}
    covered |= {row for rows in ROWS_OF_FLOWS.values() for row in rows}
    sources = [path.read_text() for path in TESTS.glob("netns/test_*.py")]
    marked = {row for row in FEATURES for text in sources if f'"{row}"' in text}
    missing = [row for row in FEATURES if row not in covered | marked | ABSENT.keys()]
    assert missing == []


def test_reasons_and_packet_facts_are_about_rows() -> None:
    named = [*ABSENT, *(row for rows in ROWS_OF_FLOWS.values() for row in rows)]
    assert [row for row in named if row not in FEATURES] == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_table_is_plain_text_before_the_last_line(workers: str) -> None:
    command = ["-n", workers, "tests/test_scenarios.py", "-k", "hairpin and as_written"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    *before, last = done.stdout.strip().splitlines()
    assert "passed" in last
    (row,) = [line for line in before if line.startswith("masquerade.hairpin:")]
    assert row.split()[-4:] == ["1/."] * 4
    assert "\x1b" not in done.stdout
