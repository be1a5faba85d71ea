"""Text archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario_file import ScenarioFile, ScenarioFileError

TEXT = """\
# why
# feature: hairpin
-- a.yaml --
kind: Service
---
kind: Node
-- empty --
-- z --
end
"""


def test_sections_in_order() -> None:
    found = ScenarioFile.parse(TEXT)
    assert found.comment == "# why\n# feature: hairpin\n"
    assert list(found.sections.items()) == [
        ("a.yaml", "kind: Service\n---\nkind: Node\n"),
        ("empty", ""),
        ("z", "end\n"),
    ]


@pytest.mark.parametrize(
    "text", [TEXT, "", "only a comment\n", "-- a --\n", "-- a b/c.golden --\n\n\nx\n"]
)
def test_formatting_gives_back_what_was_parsed(text: str) -> None:
    assert ScenarioFile.parse(text).format() == text


@pytest.mark.parametrize("line", ["--a--", "-- --", " -- a --", "-- a", "--- a ---", "-- a -- b"])
def test_what_is_no_marker_is_text(line: str) -> None:
    assert ScenarioFile.parse(f"-- x --\n{line}\n").sections == {"x": f"{line}\n"}


def test_a_missing_last_line_end_is_mended() -> None:
    assert ScenarioFile.parse("-- a --\nx").format() == "-- a --\nx\n"
    assert ScenarioFile.parse("-- a --").format() == "-- a --\n"


def test_replacing_keeps_the_order() -> None:
    changed = ScenarioFile.parse(TEXT).with_section("empty", "full").with_section("new", "1\n")
    assert list(changed.sections) == ["a.yaml", "empty", "z", "new"]
    assert ScenarioFile.parse(changed.format()).sections["empty"] == "full\n"


def test_two_sections_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "x.txtar"
    path.write_text("-- a --\n-- b --\n-- a --\n")
    with pytest.raises(ScenarioFileError, match=r"x\.txtar: two sections are called 'a'"):
        ScenarioFile.read(path)


def test_a_marker_cannot_be_smuggled_in() -> None:
    with pytest.raises(ScenarioFileError, match="'a' has a section marker"):
        ScenarioFile("", {"a": "-- b --\n"}).format()
