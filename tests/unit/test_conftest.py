"""What the test run promises about itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SKIPPING = """
import pytest

@pytest.mark.kernel
def test_needs_more_than_there_is():
    pytest.skip("no such program")

def test_other():
    pytest.skip("not today")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("required", "outcome"), [("", "2 skipped"), ("netns", "1 failed, 1 skipped")]
)
def test_kernel_tests_are_not_skipped_where_they_are_required(
    tmp_path: Path, required: str, outcome: str
) -> None:
    module = tmp_path / "test_skipping.py"
    module.write_text(SKIPPING)
    options = ("-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", "pyproject.toml", str(module)],
        cwd=ROOT,
        env={**os.environ, "NETPROXY_REQUIRE": required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout, done.stdout + done.stderr
    assert ("kernel tests must not be skipped here: no such program" in done.stdout) == bool(
        required
    )
