"""The scenario files of ``tests/scenarios`` with real packets: all steps, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from netproxy.core.config import ProxyMode
from netproxy.dataplanes import in_kernel
from netproxy.proxier import Proxier
from tests.conformance import as_parameters
from tests.netns.flows import Flow, deviation_of, find_deviations
from tests.netns.scenery import Interface
from tests.netns.stage import Stage
from tests.scenarios.mirror import all_stories
from tests.scenarios.stickiness import Stickiness
from tests.scenarios.story import Play, Story
from tests.scenarios.tellings import Life, as_written

_CONNECTIONS = 8
"""That a client without affinity arrived at one of two places this often is no rule's work."""


@pytest.mark.parametrize("story", as_parameters(all_stories(ProxyMode.NFTABLES)))
def test_real_packets_fare_as_the_file_says(story: Story) -> None:
    _play(story)


@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("story", as_parameters(all_stories(ProxyMode.IPTABLES)))
def test_real_packets_fare_as_the_file_says_with_iptables(story: Story, variant: str) -> None:
    _play(story._replace(config=story.config._replace(iptables_variant=variant)))


def _play(story: Story) -> None:
    (life,) = as_written(story)
    route_localnet = story.config.mode is ProxyMode.IPTABLES and story.config.localhost_nodeports
    interfaces = [Interface(*each) for each in story.interfaces]
    with Stage(interfaces, route_localnet=route_localnet) as stage, _programmed(stage, story) as it:
        _live(life, stage, it, Stickiness(story.config.mode))


@contextmanager
def _programmed(stage: Stage, story: Story) -> Iterator[Proxier]:
    """A proxy that is told the node's addresses: a cable just laid may not be up for the kernel."""
    with stage.node.call(lambda: in_kernel(story.config)) as kernel:
        yield stage.node.call(lambda: Proxier(story.config, kernel.by_family, story.addresses))


def _live(life: Life, stage: Stage, proxier: Proxier, stickiness: Stickiness) -> None:
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
