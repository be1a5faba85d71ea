"""The scenario files of ``tests/scenarios`` with real packets: all steps, one after the other."""

from __future__ import annotations

import pytest

from netproxy.backends.nftables import names
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.kernel.addresses import read_addresses
from netproxy.kernel.nftables import Tables
from netproxy.model.ip import Family
from netproxy.proxier import Proxier
from tests.netns.flows import Flow, deviation_of, find_deviations
from tests.netns.scenery import Interface
from tests.netns.stage import Stage
from tests.scenarios.stickiness import Stickiness
from tests.scenarios.story import Play, Story, read_stories
from tests.scenarios.tellings import Life, as_written

STORIES = read_stories()
_CONNECTIONS = 8
"""That a client without affinity arrived at one of two places this often is no rule's work."""


@pytest.mark.parametrize("story", STORIES, ids=[story.path.stem for story in STORIES])
def test_real_packets_fare_as_the_file_says(story: Story) -> None:
    (life,) = as_written(story)
    with Stage([Interface(*each) for each in story.interfaces]) as stage:
        tables = stage.node.call(lambda: Tables(names.TABLE, Family))
        with tables:
            proxier = stage.node.call(
                lambda: Proxier(story.config, nftables_dataplanes(tables.by_family), read_addresses)
            )
            _live(life, stage, proxier)


def _live(life: Life, stage: Stage, proxier: Proxier) -> None:
    stickiness = Stickiness()
    for chapter in life:
        stickiness.hear(chapter.events)
        proxier.apply_events(chapter.events)
        stage.node.call(proxier.sync)
        found = find_deviations(stage, [_flow(p) for p in chapter.plays if not p.affinity])
        assert not found, "\n".join(map(str, found))
        for play in chapter.plays:
            if play.affinity:
                _play_with_affinity(stage, play, stickiness)
        stage.node.call(proxier.tidy)


def _flow(play: Play) -> Flow:
    return Flow(play.line, play.packet, play.expected)


def _play_with_affinity(stage: Stage, play: Play, stickiness: Stickiness) -> None:
    """Several connections, which must all arrive at one place."""
    possible = stickiness.expected(play)
    for fate in stage.play([play.packet] * _CONNECTIONS):
        found = deviation_of(stage, _flow(play), play.expected._replace(arrivals=possible), fate)
        assert found is None, found
        (seen,) = fate.arrivals
        possible = frozenset(
            a for a in possible if (a.address, a.port) == (seen.address, seen.port)
        )
        stickiness.note(play, seen)
