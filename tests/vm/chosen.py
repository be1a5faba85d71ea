"""The kernel tests that run in virtual machines, and why these.

All of them would take an emulated machine well over an hour. Chosen is what may come out otherwise
on an older kernel with older programs; what asks about files, HTTP, an API server or a process is
the same everywhere. As a plugin of pytest this module leaves the others out, and of the chosen ones
all but a share, where several machines take them together.

    python -m tests.vm.chosen                                    # prints the files
    python -m pytest -p tests.vm.chosen --share 1/2 FILE...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance import Conformance

NETNS = Path(__file__).parent.parent / "netns"


class Choice(NamedTuple):
    """Tests of one file."""

    file: str
    why: str
    names: tuple[str, ...] = ()
    """What their names begin with; all of the file if nothing is named."""


CHOSEN = (
    Choice(
        "test_scenarios_kernel.py",
        "every feature with real packets, in both families, by nftables and both iptables",
    ),
    Choice("test_features.py", "connections that last, ping, marks, chains that drop"),
    Choice("test_affinity.py", "what the kernel remembers and forgets: sets with timeouts"),
    Choice("test_support.py", "what the kernel is asked before anything is written"),
    Choice("test_counters.py", "counters in elements of sets"),
)


def files() -> list[str]:
    """All files that something is chosen of."""
    return [str(NETNS / choice.file) for choice in CHOSEN]


def is_chosen(item: pytest.Item) -> bool:
    """Whether a test is in the list."""
    return any(
        item.path == NETNS / choice.file
        and (not choice.names or item.name.startswith(choice.names))
        for choice in CHOSEN
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", default="1/1", help="which share of the chosen tests, of how many")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """What all scenarios show together is not to be seen in a share of them."""
    for plugin in config.pluginmanager.get_plugins():
        if isinstance(plugin, Conformance):
            config.pluginmanager.unregister(plugin)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    number, shares = map(int, str(config.getoption("--share")).split("/"))
    chosen = [item for item in items if is_chosen(item)]
    mine = chosen[number - 1 :: shares]
    config.hook.pytest_deselected(items=[item for item in items if item not in mine])
    items[:] = mine


if __name__ == "__main__":
    sys.stdout.write("\n".join(files()) + "\n")
