"""The box, built once for each state of what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vagrant.layout import BOXES, RUN, VAGRANT
from vagrant.processes import mortal
from vagrant.progress import Progress

_INPUTS = ("build-box.sh", "packages.txt")
_CHOICES = ("SUITE", "KERNEL", "MIRROR", "SECURITY")
_PROGRAMS = ("mmdebstrap", "qemu-img", "sfdisk", "mke2fs", "ssh-keygen", "unshare")
_KEPT = 3


class BoxError(Exception):
    """No box can be built here, or building it failed."""


class Box(NamedTuple):
    """What ``build-box.sh`` makes."""

    directory: Path

    @property
    def file(self) -> Path:
        return self.directory / "netproxy.box"

    @property
    def image(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def key(self) -> Path:
        return self.directory / "key"


def name_of(inputs: Mapping[str, bytes]) -> str:
    """The same for the same inputs, and for no others.

    Example:
        >>> name_of({"packages.txt": b"iproute2"}) == name_of({"packages.txt": b"iputils"})
        False
    """
    digest = hashlib.sha256()
    for name, content in sorted(inputs.items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def find_or_build(progress: Progress) -> Box:
    """The box of this tree; building it takes a minute and the network.

    Raises:
        BoxError: it is not here and cannot be built; the message says why.
    """
    inputs = {name: (VAGRANT / name).read_bytes() for name in _INPUTS}
    inputs |= {name: os.environ.get(name, "").encode() for name in _CHOICES}
    box = Box(BOXES / name_of(inputs))
    if box.file.exists():
        os.utime(box.directory)
        progress.say(f"box {box.directory.name} is built already")
        return box
    if reason := _why_not():
        raise BoxError(reason)
    progress.say(f"building box {box.directory.name} from Debian packages")
    RUN.mkdir(parents=True, exist_ok=True)
    command = mortal([str(VAGRANT / "build-box.sh"), str(box.directory)])
    if progress.follow(command, "box", RUN / "build-box.log") != 0:
        raise BoxError(f"build-box.sh failed; see {RUN / 'build-box.log'}")
    _forget_old()
    return box


def _why_not() -> str:
    if os.geteuid() != 0:
        return "a box is built by root; sudo vagrant/build-box.sh"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in _PROGRAMS if not shutil.which(name, path=path)]
    return f"a box cannot be built without {', '.join(missing)}" if missing else ""


def _forget_old() -> None:
    """Boxes not used lately go, as do those that were never finished."""
    for unfinished in BOXES.glob("*.new"):
        shutil.rmtree(unfinished, ignore_errors=True)
    boxes = sorted(BOXES.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
    for old in boxes[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
