"""The scenario files of ``tests/scenarios`` with real packets: all steps, one after the other."""

from __future__ import annotations

import pytest

from netproxy.backends.nftables import names
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.kernel.addresses import read_addresses
from netproxy.kernel.nftables import Tables
from netproxy.model.ip import Family
from netproxy.proxier import Proxier
from tests.netns.flows import Flow, find_deviations
from tests.netns.scenery import Interface
from tests.netns.stage import Stage
from tests.scenarios.story import Story, read_stories
from tests.scenarios.tellings import Life, as_written

STORIES = read_stories()


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
    for chapter in life:
        proxier.apply_events(chapter.events)
        stage.node.call(proxier.sync)
        flows = [Flow(chapter.name, play.packet, play.expected) for play in chapter.plays]
        found = find_deviations(stage, flows)
        assert not found, "\n".join(map(str, found))
        stage.node.call(proxier.tidy)
