"""Which way to have machines works here: found out by trying."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from vagrant.box import Box
from vagrant.driver import LIBVIRT, LIBVIRT_EMULATED, QEMU, QEMU_EMULATED, VIRTUALBOX, WAYS, Way
from vagrant.processes import mortal

_KVM_PATIENCE_S = 20.0
_SYSTEM_LIBVIRT = ("virsh", "--quiet", "--connect", "qemu:///system", "version")


class ChoiceError(Exception):
    """No way works; the message says why of each."""


def choose_way(wanted: str | None, reasons: Mapping[Way, Callable[[], str]]) -> tuple[Way, str]:
    """The best way that works, and why the better ones do not.

    Args:
        wanted: The name of the way to take; None lets us choose.
        reasons: For each way what says why it does not work, in a few words, or nothing.

    Raises:
        ChoiceError: none works, or the wanted one does not.

    Example:
        >>> reasons = {way: lambda: "no such program" for way in WAYS} | {QEMU: lambda: ""}
        >>> way, why = choose_way(None, reasons)
        >>> way.name, why
        ('qemu', 'libvirt: no such program; virtualbox: no such program')
    """
    said: list[str] = []
    for way in WAYS:
        if wanted not in (None, way.name):
            continue
        if not (reason := reasons[way]()):
            return way, "; ".join(said)
        said.append(f"{way.name}: {reason}")
    raise ChoiceError("no virtual machines here: " + ("; ".join(said) or f"no way {wanted}"))


class Trial:
    """Tries what this machine can do. What was tried is not tried again.

    Attributes:
        box: One that was built here; None if there is none.
        why_no_box: Why there is none.
    """

    def __init__(self, box: Box | None, why_no_box: str, *, is_libvirt_private: bool) -> None:
        self.box = box
        self._why_no_box = why_no_box
        self._is_libvirt_private = is_libvirt_private
        self._kvm: str | None = None

    def reasons(self) -> Mapping[Way, Callable[[], str]]:
        """For ``choose_way``."""
        return {
            LIBVIRT: lambda: self._vagrant() or self._libvirt() or self._with_kvm(),
            VIRTUALBOX: lambda: self._vagrant() or _virtualbox(),
            QEMU: lambda: self._qemu() or self._with_kvm(),
            LIBVIRT_EMULATED: lambda: self._vagrant() or self._libvirt(),
            QEMU_EMULATED: self._qemu,
        }

    def _vagrant(self) -> str:
        return _missing("vagrant", "rsync", "ssh-keygen")

    def _libvirt(self) -> str:
        if self._is_libvirt_private:
            return _missing("libvirtd", "virsh", "qemu-system-x86_64", "unshare", "nsenter")
        if reason := _missing("virsh"):
            return reason
        return "" if _works(*_SYSTEM_LIBVIRT) else "libvirtd does not answer us"

    def _qemu(self) -> str:
        missing = _missing("qemu-system-x86_64", "qemu-img", "rsync", "ssh", "setpriv")
        return missing or self._why_no_box

    def _with_kvm(self) -> str:
        if self._kvm is None:
            self._kvm = try_kvm(self.box.kernel if self.box else find_kernel())
        return self._kvm


def try_kvm(kernel: Path | None) -> str:
    """Why no kernel runs with KVM here; empty if it does.

    That /dev/kvm can be opened says little: a hypervisor inside another may be there and yet not be
    able to run an ordinary kernel, which then hangs or stops at some instruction. So a kernel is
    started, without a root file system; it must get as far as to miss that.
    """
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    if reason := _missing("qemu-system-x86_64"):
        return reason
    if kernel is None:
        start = ("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-S", "-nodefaults")
        quits = _works(*start, "-display", "none", "-monitor", "stdio", stdin="quit\n")
        return "" if quits else "qemu does not start with KVM"
    with tempfile.TemporaryDirectory(prefix="netproxy-kvm-") as place:
        console = Path(place, "console")
        command = [
            *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512"),
            *("-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}"),
            *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        ]
        with subprocess.Popen(mortal(command), stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(_KVM_PATIENCE_S)
            except subprocess.TimeoutExpired:
                return "a kernel hangs with KVM"
            finally:
                process.kill()
        said = console.read_bytes() if console.exists() else b""
    return "" if b"Kernel panic" in said else "a kernel does not run with KVM"


def find_kernel() -> Path | None:
    """A kernel of this machine that may be read: the one it runs, or any."""
    running = Path("/boot", f"vmlinuz-{platform.release()}")
    candidates = [running, *sorted(Path("/boot").glob("vmlinuz*"))]
    return next((each for each in candidates if os.access(each, os.R_OK)), None)


def _virtualbox() -> str:
    if reason := _missing("VBoxManage"):
        return reason
    return "" if _works("VBoxManage", "list", "hostonlyifs") else "VBoxManage does not work"


def _missing(*programs: str) -> str:
    missing = [program for program in programs if not shutil.which(program)]
    return f"no {', '.join(missing)}" if missing else ""


def _works(*command: str, stdin: str = "") -> bool:
    try:
        done = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
