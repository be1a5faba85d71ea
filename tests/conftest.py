"""What all tests share: markers, hypothesis profiles, golden files, network namespaces."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from netproxy.core.config import ProxyMode
from tests.conformance import PACKETS, PAPER, Asked, Conformance, properties_of
from tests.netns.namespace import NetworkNamespace, missing_right

TESTS = Path(__file__).parent
NAMED_NAMESPACES = Path("/run/netns")

settings.register_profile("quick", max_examples=10, deadline=None)
settings.register_profile("default", max_examples=100, deadline=None)
settings.register_profile("ci", max_examples=300, deadline=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(autouse=True)
def _nothing_stays_frozen() -> Iterator[None]:
    """A Proxier freezes what is alive; one process of tests has thousands of them."""
    yield
    gc.unfreeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the expected outputs anew instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """One process prints the conformance table, wherever the tests run."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Conformance(_all_scenarios))


def _all_scenarios() -> list[Asked]:
    """What a complete run asks: every scenario file twice, and all packet facts."""
    from tests.netns.flows import read_scenarios
    from tests.scenarios.mirror import all_stories

    asked: list[Asked] = []
    for mode in ProxyMode:
        names = [story.path.stem for story in all_stories(mode)]
        asked += [(medium, mode, name) for medium in (PAPER, PACKETS) for name in names]
        asked += [(PACKETS, mode, facts.id) for facts in read_scenarios(mode.value)]
    return asked


_OF_PROCESSES = ("kubectl", "storm")
"""Real servers and clients: too many for the inner loop."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the kernel says so, or whole processes; the longest test begins first."""
    for item in items:
        if item.path.is_relative_to(TESTS / "netns"):
            item.add_marker(pytest.mark.kernel)
        elif any(item.path.is_relative_to(TESTS / each) for each in _OF_PROCESSES):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name != "test_architecture.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kernel") and (reason := missing_right()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With NETPROXY_REQUIRE=netns a kernel test that cannot run has failed."""
    report = yield
    is_required = os.environ.get("NETPROXY_REQUIRE") == "netns"
    if report.skipped and is_required and item.get_closest_marker("kernel"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        reason = str(reason).removeprefix("Skipped: ")
        report.longrepr = f"kernel tests must not be skipped here: {reason}"
    report.user_properties += properties_of(item)
    return report


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether expected outputs are to be written anew."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture
def netns() -> Iterator[NetworkNamespace]:
    """A fresh network namespace with loopback up, gone after the test."""
    with NetworkNamespace() as space:
        yield space


@pytest.fixture(scope="session", autouse=True)
def _no_namespace_survives() -> Iterator[None]:
    """Tests of labs make namespaces with names; names have this process's number in them."""
    yield
    mine = re.compile(rf"np-[a-z-]*{os.getpid()}-")
    left = [each.name for each in NAMED_NAMESPACES.glob("np-*") if mine.match(each.name)]
    assert not left, f"network namespaces survive the tests: {left}"
