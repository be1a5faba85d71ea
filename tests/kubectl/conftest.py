"""One server for all tests of a process, and a namespace for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.kubectl.served import Kubectl, serve

_numbers = count(1)


@pytest.fixture(scope="session")
def admin_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The kubeconfig of a running server's administrator."""
    with serve(tmp_path_factory.mktemp("api-server")) as config:
        yield config


@pytest.fixture
def kubectl(admin_config: Path) -> Kubectl:
    """A kubectl in a namespace of its own."""
    namespace = f"test-{next(_numbers)}"
    Kubectl(admin_config)("create", "namespace", namespace)
    return Kubectl(admin_config, namespace)
