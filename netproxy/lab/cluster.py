"""A running lab: namespaces, a proxy on every node, a server in every pod; up and down.

Rule 1: what half-way failed is removed before the error is raised.
Rule 2: ``down`` needs nothing from ``up``: it removes what the kernel has under the lab's name.
Rule 3: one ``up`` or ``down`` of a lab at a time; a lock tells, and dies with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from netproxy.errors import ConfigError, ManifestError, UnsupportedError
from netproxy.lab import census, names, process, topology
from netproxy.lab.names import Role
from netproxy.lab.process import ProcessError
from netproxy.lab.topology import LabSpec, Namespace, Topology
from netproxy.netns import namespace

Report = Callable[[str], None]
"""Takes a few words about what has just been reached."""

PROXY_READY_S = 15.0
ECHO_READY_S = 10.0
_LOCK_WAIT_S = 10.0
_POLL_S = 0.02
_MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """A lab that this process brought up. Its processes do not end with this one."""

    topology: Topology
    state_dir: Path
    processes: dict[str, process.Process] = field(default_factory=dict)
    """By name of the namespace."""

    @property
    def manifests_dir(self) -> Path:
        """The nodes' proxies watch this directory."""
        return self.state_dir / "manifests"

    def member(self, name: str) -> Namespace:
        """A node, pod or host by the name people use; ``ConfigError`` if there is none."""
        return self.topology.member(name)

    def log_path(self, member: str) -> Path:
        """What the member's process wrote."""
        return _log_path(self.state_dir, member)

    def write_manifest(self, name: str, text: str) -> float:
        """Put a manifest into place in one step, and tell when (CLOCK_MONOTONIC).

        A rename: the proxies see the old file or the new one, never half of one.
        """
        temporary = self.manifests_dir / f".{name}.new"
        temporary.write_text(text)
        now = time.monotonic()
        temporary.rename(self.manifests_dir / name)
        return now

    def down(self) -> None:
        """Remove the lab and reap its processes. Harmless when repeated."""
        down(self.topology.spec.name)
        self.reap()

    def reap(self) -> None:
        """Let go of processes that have ended, so that no zombies remain."""
        for each in self.processes.values():
            each.wait()
            if each.stdout is not None:
                each.stdout.close()
        self.processes.clear()


def labs_dir() -> Path:
    """Where labs keep manifests and logs."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    parent = Path("/run") if os.geteuid() == 0 or not runtime else Path(runtime)
    return parent / "netproxy" / "labs"


def up(
    spec: LabSpec,
    *,
    manifests: Sequence[Path] = (),
    with_proxy: bool = True,
    report: Report | None = None,
) -> Lab:
    """Bring up a lab, and return when every pod answers and every node has rules.

    Args:
        spec: What to bring up.
        manifests: Files and directories, copied to where the proxies watch.
        with_proxy: Whether each node runs netproxy.
        report: Is told what has been reached.

    Raises:
        ConfigError: the description is impossible, or the lab exists already.
        UnsupportedError: this user may not make network namespaces.
        DataplaneError: the kernel refused something.
        ProcessError: a daemon or a server did not start.
    """
    plan = topology.resolve_topology(spec)
    tell = report or _tell_nobody
    with _locked(spec.name):
        if census.list_names(spec.name):
            raise ConfigError(
                setting=f"lab {spec.name}",
                problem="exists already",
                hint=f"netproxy lab down --name {spec.name}; or choose another --name",
            )
        lab = Lab(topology=plan, state_dir=labs_dir() / spec.name)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(lab.reap)
            on_failure.callback(_remove_all, spec.name)
            _prepare_state(lab, manifests)
            _start(lab, with_proxy=with_proxy, report=tell)
            if spec.is_cluster:
                from netproxy.lab import hosted

                hosted.start(lab, report=tell)
            on_failure.pop_all()
        return lab


@contextlib.contextmanager
def running(
    spec: LabSpec, *, manifests: Sequence[Path] = (), with_proxy: bool = True
) -> Iterator[Lab]:
    """A lab for as long as a ``with`` block lasts; see ``up``."""
    lab = up(spec, manifests=manifests, with_proxy=with_proxy)
    try:
        yield lab
    finally:
        lab.down()


def down(name: str) -> list[str]:
    """Remove a lab: its processes, namespaces and files. Names what was there.

    Raises:
        ConfigError: the name cannot be a lab's, or ``up`` of this lab is still running.
        UnsupportedError: this user may not do it.
        DataplaneError: the kernel refused.
    """
    names.check_lab_name(name)
    with _locked(name):
        return _remove_all(name)


def list_labs() -> list[str]:
    """Names of the labs that exist, sorted."""
    parsed = (names.parse_namespace_name(each) for each in census.list_names())
    return sorted({parts.lab for parts in parsed if parts})


def _tell_nobody(_words: str) -> None:
    return


def _start(lab: Lab, *, with_proxy: bool, report: Report) -> None:
    from netproxy.lab import build  # pyroute2: 0.1 to 0.3 s that ``lab exec`` need not pay

    with_proxy = with_proxy and not lab.topology.spec.is_cluster

    waiting: list[Namespace] = []

    def populate(space: Namespace) -> None:
        if space.role is Role.NODE and with_proxy:
            lab.processes[space.name] = _start_proxy(lab, space)
        elif space.role in (Role.POD, Role.HOST):
            lab.processes[space.name] = _start_echo(lab, space)
            waiting.append(space)

    build.build_namespaces(lab.topology, report=populate)
    report(f"{len(lab.topology.namespaces)} network namespaces, wired")
    deadline = time.monotonic() + ECHO_READY_S
    for space in waiting:
        process.wait_ready(
            lab.processes[space.name],
            name=f"the server in {space.member}",
            timeout_s=max(0.1, deadline - time.monotonic()),
            log=lab.log_path(space.member),
        )
    report(f"{len(waiting)} servers answer")
    if with_proxy:
        _wait_for_rules(lab)
        report(f"{len(lab.topology.of_role(Role.NODE))} nodes have rules")


def _start_proxy(lab: Lab, node: Namespace) -> process.Process:
    flags = proxy_flags(lab.topology.spec, node)
    command = process.netproxy_command("run", "-f", str(lab.manifests_dir), *flags)
    return process.spawn(node.name, command, log=lab.log_path(node.member))


def proxy_flags(spec: LabSpec, node: Namespace) -> list[str]:
    """What ``run``, ``sync``, ``render`` and ``diff`` must be told about a node of a lab."""
    flags = ["--hostname-override", node.member]
    for address in node.addresses:
        flags += ["--node-ip", address]
    flags += ["--cluster-cidr", topology.cidr_list(topology.CLUSTER_CIDRS, spec.families)]
    flags += ["--service-cidr", topology.cidr_list(topology.SERVICE_CIDRS, spec.families)]
    return flags


def _start_echo(lab: Lab, space: Namespace) -> process.Process:
    command = process.echo_command(space.member, lab.topology.spec.echo_ports)
    log = lab.log_path(space.member)
    return process.spawn(space.name, command, log=log, stdout=subprocess.PIPE)


def _wait_for_rules(lab: Lab) -> None:
    """Until each node's kernel has netproxy's table."""
    from netproxy.lab import status

    deadline = time.monotonic() + PROXY_READY_S
    for node in lab.topology.of_role(Role.NODE):
        running, log = lab.processes[node.name], lab.log_path(node.member)
        while not status.read_tables(node.name):
            ended = running.poll()
            if ended is not None:
                raise ProcessError(
                    f"netproxy on {node.member} ended with exit code {ended}",
                    hint=process.last_words(log),
                )
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"netproxy on {node.member} made no rules within {PROXY_READY_S:g} s",
                    hint=process.last_words(log),
                )
            time.sleep(_POLL_S)


def _prepare_state(lab: Lab, manifests: Sequence[Path]) -> None:
    shutil.rmtree(lab.state_dir, ignore_errors=True)  # logs of a lab that was killed
    for directory in (lab.manifests_dir, lab.state_dir / "logs"):
        directory.mkdir(parents=True)
    for source in manifests:
        files = [source]
        if source.is_dir():
            files = sorted(p for p in source.iterdir() if p.suffix in _MANIFEST_SUFFIXES)
        for file in files:
            if (lab.manifests_dir / file.name).exists():
                problem = f"another file is called {file.name} as well"
                raise ManifestError(path=str(file), problem=problem)
            try:
                lab.write_manifest(file.name, file.read_text())
            except (OSError, UnicodeDecodeError) as error:
                raise ManifestError(path=str(file), problem=f"cannot be read: {error}") from error


def _log_path(state_dir: Path, member: str) -> Path:
    return state_dir / "logs" / f"{member}.log"


def _remove_all(name: str) -> list[str]:
    removed: list[str] = []
    # Nodes first: as long as an agent lives, it brings its Pods back.
    while found := census.list_names(name):
        nodes = [each for each in found if _is_node(each)]
        namespace.remove(nodes or found)
        removed += nodes or found
    shutil.rmtree(labs_dir() / name, ignore_errors=True)
    return sorted(removed)


def _is_node(namespace_name: str) -> bool:
    parts = names.parse_namespace_name(namespace_name)
    return parts is not None and parts.role is Role.NODE


@contextlib.contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold the lab's lock; its file exists only meanwhile."""
    path = labs_dir() / f".{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _wait_for_lock(path, name)
    except PermissionError as error:
        raise UnsupportedError(f"may not write {path}", hint="run this as root") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _wait_for_lock(path: Path, name: str) -> int:
    """A descriptor that holds the lock, on the very file that others would open now."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise ConfigError(
                setting=f"lab {name!r}",
                problem="another `lab up` or `lab down` of it is running",
                hint="wait for it, or end it",
            )
        time.sleep(_POLL_S)
