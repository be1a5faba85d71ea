"""The wheel is complete: what it lacks would be missed only after an installation."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of a wheel that was built from this tree, as pip would lay them out."""
    place = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = place.glob("netproxy-*.whl")
    site = place / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.mark.slow
def test_wheel_has_the_templates(installed: Path) -> None:
    ours = {path.relative_to(ROOT) for path in (ROOT / "templates").rglob("*") if path.is_file()}
    package = installed / "netproxy"
    theirs = {path.relative_to(package) for path in package.glob("templates/**/*")}
    assert ours <= theirs
    assert (package / "py.typed").is_file()


@pytest.mark.slow
def test_wheel_renders(installed: Path, tmp_path: Path) -> None:
    """From another directory, where no repository's templates are in reach."""
    manifest = tmp_path / "web.yaml"
    manifest.write_text((ROOT / "templates" / "demo" / "my-service.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-m", "netproxy", "render", "-f", str(manifest)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "table ip netproxy" in done.stdout
