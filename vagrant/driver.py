"""What every way to have machines can do, and which ways there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from vagrant.layout import Machine
from vagrant.progress import Progress
from vagrant.session import Session


class Way(NamedTuple):
    """One way to have virtual machines."""

    name: str
    """As ``--with`` has it."""
    title: str
    is_emulated: bool

    @property
    def time_scale(self) -> int:
        """How much more patience tests need than on the machine that runs this."""
        return 20 if self.is_emulated else 2


LIBVIRT = Way("libvirt", "Vagrant with libvirt and KVM", is_emulated=False)
VIRTUALBOX = Way("virtualbox", "Vagrant with VirtualBox", is_emulated=False)
QEMU = Way("qemu", "qemu alone, with KVM", is_emulated=False)
LIBVIRT_EMULATED = Way(
    "libvirt-emulated", "Vagrant with libvirt, software emulation", is_emulated=True
)
QEMU_EMULATED = Way("qemu-emulated", "qemu alone, software emulation", is_emulated=True)
WAYS = (LIBVIRT, VIRTUALBOX, QEMU, LIBVIRT_EMULATED, QEMU_EMULATED)
"""The best first."""


class DriverError(Exception):
    """The machines do not do what they should; the message says which and where to look."""


class Work(NamedTuple):
    """What a driver is given."""

    way: Way
    machines: Sequence[Machine]
    session: Session
    progress: Progress
    tests: Sequence[str]
    """Arguments for pytest."""

    @property
    def nodes(self) -> int:
        return sum(not machine.is_client for machine in self.machines)


class Driver(Protocol):
    """Makes machines, and uses them. They end with the session."""

    def up(self) -> None:
        """Start what is not running, copy this tree, provision.

        Raises:
            DriverError: it did not work.
        """

    def test(self, machine: Machine) -> None:
        """Run the machine's tests, and fetch what came of them into the results.

        Raises:
            DriverError: nothing could be fetched.
        """

    def destroy(self) -> None:
        """End the machines in good order."""

    def shell(self, machine: Machine) -> Sequence[str]:
        """The command that logs in; words behind it are run there instead of a shell."""
