"""Deployment files as text: what is in them was decided in ``netproxy.deploy``."""

from __future__ import annotations

from netproxy import __version__
from netproxy.deploy.manifest import Manifest
from netproxy.deploy.unit import Unit
from netproxy.render.environment import fill_in


def render_manifest(manifest: Manifest) -> str:
    """The YAML that ``kubectl apply`` takes."""
    return fill_in("deploy/manifest.yaml.j2", {**manifest._asdict(), "version": __version__})


def render_unit(unit: Unit) -> str:
    """The file that systemd reads."""
    return fill_in("deploy/netproxy.service.j2", {**unit._asdict(), "version": __version__})
