"""Packets through rules that netproxy made become what the reference proxy makes of them."""

from __future__ import annotations

import pytest

from tests.netns.adapter import program_objects
from tests.netns.flows import Scenario, find_deviations, read_scenarios

IPTABLES = read_scenarios("iptables")


@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("scenario", IPTABLES, ids=lambda scenario: scenario.id)
def test_packets_go_where_the_reference_sends_them_with_iptables(
    scenario: Scenario, variant: str
) -> None:
    mode = ("--proxy-mode", "iptables", "--iptables-variant", variant)
    with scenario.stage() as stage:
        program_objects(stage.node, scenario.objects, scenario.config, *mode)
        deviations = find_deviations(stage, scenario.flows)
        assert not deviations, "\n".join(map(str, deviations))


@pytest.mark.parametrize("scenario", read_scenarios("nftables"), ids=lambda scenario: scenario.id)
def test_packets_go_where_the_reference_sends_them(scenario: Scenario) -> None:
    with scenario.stage() as stage:
        program_objects(stage.node, scenario.objects, scenario.config)
        deviations = find_deviations(stage, scenario.flows)
        assert not deviations, "\n".join(map(str, deviations))
