"""Machines with qemu alone: the same image, provisioning and tests, without Vagrant and libvirt.

Each has two network cards. One is its way in: qemu forwards a port of ours. By the other one they
reach each other; what they say there goes round as multicast, which stays in the session.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vagrant.box import Box
from vagrant.driver import DriverError, Work
from vagrant.layout import GUEST_RESULTS, GUEST_ROOT, NOT_COPIED, RESULTS, ROOT, RUN, Machine
from vagrant.processes import in_parallel

_BOOT_PATIENCE_S = 300.0
_MEMORY_MIB = 768
_MULTICAST = "230.0.56.1:5656,localaddr=127.0.0.1"
_KERNEL_ARGUMENTS = "root=LABEL=netproxy ro net.ifnames=0 console=ttyS0 quiet"
_SSH_CONFIG = RUN / "ssh_config"
_SSH_HOST = """Host {name}
  HostName 127.0.0.1
  Port {port}
  User vagrant
  IdentityFile "{key}"
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 20
  ServerAliveInterval 60
"""
_LAN = "[Match]\\nName=eth1\\n[Network]\\nAddress={address}/24\\n"
_CONFIGURE_LAN = """set -e
hostnamectl hostname {name}
echo 127.0.1.1 {name} >>/etc/hosts
printf '{network}' >/etc/systemd/network/50-lan.network
networkctl reload
install -d {root}"""


class QemuDriver:
    """See ``Driver``."""

    def __init__(self, work: Work, box: Box) -> None:
        self._work = work
        self._box = box

    def up(self) -> None:
        if not _SSH_CONFIG.exists():
            self._start_all()
        in_parallel([partial(self._prepare, machine) for machine in self._work.machines])

    def test(self, machine: Machine) -> None:
        scale = f"NETPROXY_TIME_SCALE={self._work.way.time_scale}"
        self._run(
            machine,
            "sudo",
            "env",
            scale,
            *self._script("test.sh", machine),
            *map(shlex.quote, self._work.tests),
        )
        target = RESULTS / machine.name
        target.mkdir(parents=True, exist_ok=True)
        self._copy(f"{machine.name}:{GUEST_RESULTS}", str(target))
        kept = target / Path(GUEST_RESULTS).name
        subprocess.run(["tar", "-xf", kept, "-C", target], check=True)
        kept.unlink()

    def destroy(self) -> None:
        """They end with the session."""

    def shell(self, machine: Machine) -> Sequence[str]:
        return self._work.session.wrap(["ssh", "-F", str(_SSH_CONFIG), "-t", machine.name])

    def _start_all(self) -> None:
        hosts = ""
        for machine in self._work.machines:
            port = _free_port()
            self._start(machine, port)
            hosts += _SSH_HOST.format(name=machine.name, port=port, key=self._box.key)
        _SSH_CONFIG.write_text(hosts)

    def _start(self, machine: Machine, port: int) -> None:
        disk = RUN / f"{machine.name}.qcow2"
        base = ("-b", str(self._box.image), "-F", "qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, disk], check=True)
        # Half of qemu's default is enough for translated code, and three machines have it each.
        emulated = ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
        accelerator = emulated if self._work.way.is_emulated else ["-accel", "kvm", "-cpu", "host"]
        way_in = f"user,id=in,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
        mac = f"52:54:00:56:00:{machine.number:02x}"
        command = [
            *("qemu-system-x86_64", *accelerator, "-m", str(_MEMORY_MIB)),
            *("-nodefaults", "-display", "none"),
            *("-serial", f"file:{RUN / machine.name}.console.log"),
            *("-drive", f"if=virtio,file={disk},format=qcow2,cache=unsafe"),
            *("-netdev", way_in, "-device", "virtio-net-pci,netdev=in,romfile="),
            *("-netdev", f"socket,id=lan,mcast={_MULTICAST}"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={mac},romfile="),
            *("-kernel", str(self._box.kernel), "-initrd", str(self._box.initrd)),
            *("-append", _KERNEL_ARGUMENTS),
        ]
        with (RUN / f"{machine.name}.qemu.log").open("wb") as log:
            self._work.session.popen(command, log)

    def _prepare(self, machine: Machine) -> None:
        """What Vagrant would do, and provisioning."""
        self._wait_for(machine)
        self._work.progress.say("answers", who=machine.name)
        network = _LAN.format(address=machine.address)
        script = _CONFIGURE_LAN.format(name=machine.name, network=network, root=GUEST_ROOT)
        self._run(machine, "sudo", "sh", "-c", script)
        excluded = [f"--exclude={pattern}" for pattern in NOT_COPIED]
        self._copy("--delete", *excluded, f"{ROOT}/", f"{machine.name}:{GUEST_ROOT}/")
        self._run(machine, "sudo", *self._script("provision.sh", machine))

    def _wait_for(self, machine: Machine) -> None:
        deadline = time.monotonic() + _BOOT_PATIENCE_S
        command = self._work.session.wrap(["ssh", "-F", str(_SSH_CONFIG), machine.name, "true"])
        while subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            if time.monotonic() > deadline:
                raise DriverError(f"{machine.name} does not answer; see {RUN}/{machine.name}.*.log")
            time.sleep(0.5)

    def _script(self, name: str, machine: Machine) -> list[str]:
        return [f"{GUEST_ROOT}/vagrant/{name}", machine.name, str(self._work.nodes)]

    def _run(self, machine: Machine, *words: str) -> None:
        """Run words in the machine as they are; a shell there puts them together again."""
        command = ["ssh", "-F", str(_SSH_CONFIG), machine.name, shlex.join(words)]
        self._follow(machine.name, command)

    def _copy(self, *arguments: str) -> None:
        connect = f"ssh -F {shlex.quote(str(_SSH_CONFIG))}"
        options = ["--archive", "--no-owner", "--no-group", "-e", connect]
        self._follow("rsync", ["rsync", *options, "--rsync-path=sudo rsync", *arguments])

    def _follow(self, who: str, command: Sequence[str]) -> None:
        log = RUN / f"{who}.log"
        code = self._work.progress.follow(self._work.session.wrap(command), who, log)
        if code != 0:
            raise DriverError(f"{who}: {shlex.join(command)} ended with {code}; see {log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
