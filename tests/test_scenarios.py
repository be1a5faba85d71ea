"""Every scenario file, told in every way, judged by the plans and by the rules.

The same files are played with real packets in ``netns/test_scenarios_kernel.py``.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest

from netproxy.core.config import ProxyMode
from netproxy.errors import DataplaneError
from netproxy.model.events import Event
from netproxy.model.ip import Family
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import Ruleset, SetSpec, Vocabulary
from netproxy.nft.transaction import Transaction
from tests.conformance import as_parameters
from tests.scenario_file import ScenarioFile
from tests.scenarios.judges import IptablesTracer, Judge, Oracle, Tracer, deviations
from tests.scenarios.mirror import stories_in_ipv6
from tests.scenarios.stickiness import Stickiness
from tests.scenarios.story import GOLDEN, Story, read_stories, read_story
from tests.scenarios.tellings import TELLINGS, Life, as_written, object_by_object, steps_reversed

IN_IPV6 = {mode: stories_in_ipv6(mode) for mode in ProxyMode}
"""Nothing but addresses is different there: they need not be told in every way."""
SEEDS = range(5)
REFUSED = 0.1
"""The share of reads and commits that fail."""

every_story = pytest.mark.parametrize("story", as_parameters(read_stories()))
every_telling = pytest.mark.parametrize("telling", TELLINGS.values(), ids=TELLINGS.keys())


@pytest.mark.parametrize("judge", [Oracle, Tracer], ids=["oracle", "tracer"])
@every_telling
@every_story
def test_packets_fare_as_the_file_says(
    story: Story,
    telling: Callable[[Story], Iterator[Life]],
    judge: Callable[[Story], Judge],
) -> None:
    _judge(story, telling, judge)


@pytest.mark.parametrize("judge", [Oracle, IptablesTracer], ids=["oracle", "tracer"])
@pytest.mark.parametrize(
    "telling", [as_written, steps_reversed, object_by_object], ids=lambda telling: telling.__name__
)
@pytest.mark.parametrize("story", as_parameters(read_stories(ProxyMode.IPTABLES)))
def test_packets_fare_as_the_file_says_in_iptables_mode(
    story: Story,
    telling: Callable[[Story], Iterator[Life]],
    judge: Callable[[Story], Judge],
) -> None:
    _judge(story, telling, judge)


@pytest.mark.parametrize("judge", [Oracle, Tracer], ids=["oracle", "tracer"])
@pytest.mark.parametrize("story", as_parameters(IN_IPV6[ProxyMode.NFTABLES]))
def test_packets_fare_the_same_in_ipv6(story: Story, judge: Callable[[Story], Judge]) -> None:
    _judge(story, as_written, judge)


@pytest.mark.parametrize("judge", [Oracle, IptablesTracer], ids=["oracle", "tracer"])
@pytest.mark.parametrize("story", as_parameters(IN_IPV6[ProxyMode.IPTABLES]))
def test_packets_fare_the_same_in_ipv6_in_iptables_mode(
    story: Story, judge: Callable[[Story], Judge]
) -> None:
    _judge(story, as_written, judge)


def _judge(
    story: Story, telling: Callable[[Story], Iterator[Life]], judge: Callable[[Story], Judge]
) -> None:
    for life in telling(story):
        one = judge(story)
        stickiness = Stickiness(story.config.mode)
        for chapter in life:
            stickiness.hear(chapter.events)
            one.tell(chapter.events)
            found = deviations(one, chapter.plays, stickiness)
            assert not found, "\n".join([f"{story.sentence} {chapter.name}:", *found])


@every_story
def test_elements_are_the_golden_ones(story: Story, update_golden: bool) -> None:
    (life,) = as_written(story)
    tracer = Tracer(story)
    tracer.tell([event for chapter in life for event in chapter.events])
    elements = tracer.elements()
    if update_golden:
        file = ScenarioFile.read(story.path).with_section(GOLDEN, elements)
        story.path.write_text(file.format())
        assert read_story(story.path) == story._replace(golden=elements)
    else:
        assert elements == story.golden, "review it, then run: ./dev golden"


@every_telling
@every_story
def test_applying_twice_writes_once(
    story: Story, telling: Callable[[Story], Iterator[Life]]
) -> None:
    for life in telling(story):
        tracer = Tracer(story)
        for chapter in life:
            tracer.tell(chapter.events)
            assert not tracer.proxier.sync().changed
            tracer.proxier.tidy()
            tracer.proxier.request_full()
            assert not tracer.proxier.sync().changed


@every_telling
@every_story
def test_a_restart_after_every_step_writes_nothing(
    story: Story, telling: Callable[[Story], Iterator[Life]]
) -> None:
    for life in telling(story):
        tables = {family: FakeTable(family) for family in Family}
        told: list[Event] = []
        tracer = Tracer(story, tables)
        stickiness = Stickiness(story.config.mode)
        for chapter in life:
            stickiness.hear(chapter.events)
            tracer.tell(chapter.events)
            assert not deviations(tracer, chapter.plays, stickiness)
            tracer.proxier.tidy()
            told += chapter.events
            commits = [len(table.commits) for table in tables.values()]
            tracer = Tracer(story, tables)
            tracer.tell(told)
            assert [len(table.commits) for table in tables.values()] == commits, chapter.name
            assert not deviations(tracer, chapter.plays, stickiness)


class _Moody(FakeTable):
    """A kernel that now and then will neither be read nor changed, and is as it was before."""

    def __init__(self, family: Family, dice: random.Random) -> None:
        super().__init__(family)
        self._dice = dice
        self.is_well = False

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:
        self._refuse("read")
        return super().read(vocabulary, sets)

    def commit(self, transaction: Transaction) -> None:
        self._refuse("commit")
        super().commit(transaction)

    def _refuse(self, operation: str) -> None:
        if not self.is_well and self._dice.random() < REFUSED:
            raise DataplaneError(operation=operation, subject="a table", errno=errno.ENOMEM)


@pytest.mark.parametrize("seed", SEEDS)
@every_story
def test_refused_commits_are_made_up_for(story: Story, seed: int) -> None:
    dice = random.Random(f"{story.path.stem} {seed}")
    tables = {family: _Moody(family, dice) for family in Family}
    tracer = Tracer(story, tables)
    (life,) = object_by_object(story)
    stickiness = Stickiness(story.config.mode)
    for chapter in life:
        stickiness.hear(chapter.events)
        try:
            tracer.tell(chapter.events)
        except DataplaneError:
            assert tracer.proxier.has_changes
        if chapter.plays:
            _sync_until_done(tracer)
            assert not deviations(tracer, chapter.plays, stickiness)
    for table in tables.values():
        table.is_well = True
    tracer.proxier.tidy()
    newborn = Tracer(story, tables)
    newborn.proxier.apply_events(event for chapter in life for event in chapter.events)
    assert not newborn.proxier.sync().changed, "what a fresh start would write is not there"


def _sync_until_done(tracer: Tracer) -> None:
    for _ in range(50):
        try:
            tracer.proxier.sync()
            return
        except DataplaneError:
            continue
    raise AssertionError("does not converge")
