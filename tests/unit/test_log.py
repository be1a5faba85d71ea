"""Lines that people and programs can read, whatever is in the values."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from netproxy import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger("netproxy")
    before = (logger.handlers, logger.propagate, logger.level, logging.raiseExceptions)
    yield io.StringIO()
    logger.handlers, logger.propagate, logger.level, logging.raiseExceptions = before


def text_of(stream: io.StringIO, **fields: object) -> str:
    log.configure(is_json=False, verbosity=2, stream=stream)
    log.EventLogger("netproxy.test").info("sync done", **fields)
    return stream.getvalue()


def test_an_event_and_its_fields(stream: io.StringIO) -> None:
    line = text_of(stream, full=True, services=812, kernel_ms=14.234)
    assert line.endswith('level=info event="sync done" full=true services=812 kernel_ms=14.2\n')
    assert line.startswith("time=20")


def test_absent_fields_are_left_out_and_zero_is_not(stream: io.StringIO) -> None:
    assert text_of(stream, hint=None, path="", operations=0).endswith(
        'event="sync done" operations=0\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("default/web", "default/web"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "no"', r'"say \"no\""'),
        ("x\nlevel=error", r'"x\nlevel=error"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("\x9b2J", r'"\u009b2J"'),
        ("grün", '"grün"'),
    ],
)
def test_no_value_leaves_its_place(stream: io.StringIO, value: str, text: str) -> None:
    assert text_of(stream, error=value).endswith(f" error={text}\n")


def test_json_lines(stream: io.StringIO) -> None:
    log.configure(is_json=True, verbosity=None, stream=stream)
    log.EventLogger("netproxy.test").warning("object not right", object="Service a/b", line=3)
    found = json.loads(stream.getvalue())
    found.pop("time")
    assert found == {
        "level": "warning",
        "event": "object not right",
        "object": "Service a/b",
        "line": 3,
    }


def test_levels_hide_what_is_below(stream: io.StringIO) -> None:
    log.configure(is_json=False, verbosity=0, stream=stream)
    logger = log.EventLogger("netproxy.test")
    logger.info("sync done")
    logger.error("sync failed")
    assert "sync failed" in stream.getvalue()
    assert "sync done" not in stream.getvalue()
    assert not logger.is_tracing()


def test_the_highest_level_has_a_name(stream: io.StringIO) -> None:
    log.configure(is_json=False, verbosity=9, stream=stream)
    log.EventLogger("netproxy.test").trace("transaction", text="add table ip netproxy\n")
    assert "level=trace" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
