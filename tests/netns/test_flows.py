"""Packets through rules that netproxy made become what the reference proxy makes of them."""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet

from netproxy.core.config import ProxyMode
from netproxy.model.ip import family_of
from tests.conformance import covers
from tests.netns.adapter import program_objects
from tests.netns.flows import Scenario, find_deviations, read_scenarios
from tests.scenarios.features import ROWS_OF_FLOWS


def as_parameters(mode: ProxyMode) -> list[ParameterSet]:
    return [
        pytest.param(
            facts,
            id=facts.id,
            marks=covers(
                *ROWS_OF_FLOWS[facts.test],
                scenario=facts.id,
                mode=mode,
                families={family_of(flow.packet.destination) for flow in facts.flows},
            ),
        )
        for facts in read_scenarios(mode.value)
    ]


@pytest.mark.parametrize("variant", ["legacy", "nft"])
@pytest.mark.parametrize("scenario", as_parameters(ProxyMode.IPTABLES))
def test_packets_go_where_the_reference_sends_them_with_iptables(
    scenario: Scenario, variant: str
) -> None:
    mode = ("--proxy-mode", "iptables", "--iptables-variant", variant)
    with scenario.stage() as stage:
        program_objects(stage.node, scenario.objects, scenario.config, *mode)
        deviations = find_deviations(stage, scenario.flows)
        assert not deviations, "\n".join(map(str, deviations))


@pytest.mark.parametrize("scenario", as_parameters(ProxyMode.NFTABLES))
def test_packets_go_where_the_reference_sends_them(scenario: Scenario) -> None:
    with scenario.stage() as stage:
        program_objects(stage.node, scenario.objects, scenario.config)
        deviations = find_deviations(stage, scenario.flows)
        assert not deviations, "\n".join(map(str, deviations))
