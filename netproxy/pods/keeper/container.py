"""Starts one run of a container and keeps it: the first process of its own process ids.

The keeper is process 1 in there, the command its child. So the kernel ends everything that the
command ever started when the keeper ends, whatever it did to hide; a signal to end means to the
command what it means to every process (process 1 itself would not hear it); and orphans are reaped.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import NamedTuple, NoReturn

from netproxy.pods.keeper import records, syscalls
from netproxy.pods.keeper.logfile import LogFile
from netproxy.pods.keeper.records import Alive, Exit, RunSpec

_GO = b"go"
_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_OF_THE_HOST = ("/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket")
"""Through these the C library would ask the host's resolver and not the Pod's."""
_BUFFER = 1 << 16


def start(directory: str, lock: int) -> tuple[int, str]:
    """Start a run; called in a process made for it, which ends afterwards.

    Args:
        directory: Of the run.
        lock: Its lock, held.

    Returns:
        The keeper's process id, or 0 and why it could not be started.
    """
    here = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    spec = records.read_spec(directory)
    try:
        if spec is None:
            raise OSError(0, "there is no spec.json")
        mounts = _collect_mounts(spec)
        _enter_namespaces(spec)
        return _start_keeper(spec, here, lock, mounts)
    except OSError as error:
        return 0, _fail(here, error.strerror or str(error))


def _collect_mounts(spec: RunSpec) -> list[tuple[int, str]]:
    """What is to appear in the container, picked up while it can be seen."""
    found = []
    if spec.root:
        found.append((syscalls.pick_up("/dev", recursive=True), "/dev"))
    if spec.etc:
        found += [
            (syscalls.pick_up(os.path.join(spec.etc, name)), f"/etc/{name}")
            for name in sorted(os.listdir(spec.etc))
        ]
    if not spec.root:
        hidden = [path for path in _OF_THE_HOST if os.path.exists(path)]
        found += [(syscalls.pick_up("/dev/null"), path) for path in hidden]
    return found


def _enter_namespaces(spec: RunSpec) -> None:
    if spec.network:
        descriptor = os.open(spec.network, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
        os.close(descriptor)
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWPID)
    # What the host unmounts from now on disappears here, too; nothing from here reaches the host.
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE)


def _start_keeper(
    spec: RunSpec, here: int, lock: int, mounts: list[tuple[int, str]]
) -> tuple[int, str]:
    mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    started_at = time.time()
    pid = os.fork()
    if pid == 0:
        _become_keeper(spec, _Held(here, lock, other), mounts, started_at)
    other.close()
    records.write_alive(lock, Alive(pid, started_at))
    mine.send(_GO)
    said = mine.recv(_BUFFER)
    if said == _GO:
        return pid, ""
    return 0, said.decode(errors="replace") or "its keeper was killed"


class _Held(NamedTuple):
    """What a keeper takes along."""

    directory: int
    lock: int
    starter: socket.socket


def _become_keeper(
    spec: RunSpec, held: _Held, mounts: list[tuple[int, str]], started_at: float
) -> NoReturn:
    """Never returns, whatever happens: there is somebody else's code behind us."""
    here, lock, starter = held
    try:
        keep_open = {here, lock, starter.fileno(), *(descriptor for descriptor, _ in mounts)}
        _close_all_but(keep_open)
        if starter.recv(len(_GO)) == _GO:  # else nobody knows of us
            _prepare(spec, mounts)
            _keep(spec, here, starter, started_at)
    except OSError as error:
        with contextlib.suppress(OSError):
            starter.send(_fail(here, error.strerror or str(error)).encode())
    finally:
        os._exit(0)


def _close_all_but(wanted: set[int]) -> None:
    """Also the standard streams: they lead to the agent's terminal or journal."""
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in wanted:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _prepare(spec: RunSpec, mounts: list[tuple[int, str]]) -> None:
    """The file system, the name and the session."""
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write("netproxy-pod")
    if spec.root:
        syscalls.enter_root(spec.root)
    # Where a container around us has hidden parts of /proc the kernel forbids a new one, and there
    # is none in some directories; programs that need it say so.
    no_more = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    with contextlib.suppress(OSError):
        syscalls.mount("proc", "/proc", "proc", no_more)
    for descriptor, path in mounts:
        with contextlib.suppress(FileNotFoundError):  # nobody wants to write into a directory given
            syscalls.put_down(descriptor, path)
        os.close(descriptor)
    socket.sethostname(spec.hostname)


def _keep(spec: RunSpec, here: int, starter: socket.socket, started_at: float) -> None:
    log = LogFile(here, records.LOG, spec.most_log_bytes)
    streams: dict[int, str] = {}
    ends = []
    for name in ("stdout", "stderr"):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        streams[reader] = name
        ends.append(writer)
    woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    child = _start_command(spec, ends)
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: _signal(child, number))
    for writer in ends:
        os.close(writer)
    starter.send(_GO)
    starter.close()
    status = _pump(log, streams, woken, child)
    log.end()
    killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + killed_by if killed_by else os.WEXITSTATUS(status)
    records.write_exit(here, Exit(code, killed_by, started_at, time.time(), ""))


def _signal(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _pump(log: LogFile, streams: dict[int, str], woken: int, child: int) -> int:
    """Carry what is written into the log until the command has ended; returns its status."""
    poll = select.poll()
    for descriptor in (*streams, woken):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == woken:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, _BUFFER)
            elif data := os.read(descriptor, _BUFFER):
                log.take(streams[descriptor], data)
            else:
                poll.unregister(descriptor)
        status = _reap(child)
        if status is not None:
            for descriptor, name in streams.items():
                _drain(log, descriptor, name)
            return status


def _reap(child: int) -> int | None:
    """Bury who has died; the status of the command if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
    return found


def _drain(log: LogFile, descriptor: int, name: str) -> None:
    """What the command left behind; others may hold the other end, and are not waited for."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(descriptor, _BUFFER):
            log.take(name, data)


def _start_command(spec: RunSpec, ends: list[int]) -> int:
    """The command's process id in here.

    Raises:
        OSError: it cannot be executed.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            for standard, end in zip((1, 2), ends, strict=True):
                os.dup2(end, standard)
            execute(spec)
        except OSError as error:
            os.write(writer, (error.strerror or str(error)).encode())
        finally:
            os._exit(records.START_ERROR)
    os.close(writer)
    with open(reader, "rb") as stream:
        problem = stream.read().decode(errors="replace")
    if problem:
        raise OSError(0, problem)
    return pid


def execute(spec: RunSpec) -> NoReturn:
    """Become the command, as the user and in the directory that are wanted.

    Raises:
        OSError: it cannot be.
    """
    os.setsid()
    directory = spec.working_directory or "/"
    try:
        os.chdir(directory)
    except OSError as error:
        raise OSError(0, f"working directory {directory}: {error.strerror}") from error
    program = _find_program(spec.command[0], spec.environment.get("PATH", os.defpath))
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(PermissionError):
        # In a user namespace nobody may choose groups; and root's own do not matter to root.
        os.setgroups(spec.groups)
    os.setgid(spec.gid)
    os.setuid(spec.uid)
    try:
        os.execve(program, spec.command, spec.environment)  # noqa: S606 - it is what is asked for
    except OSError as error:
        raise OSError(0, f"exec {program}: {error.strerror}") from error


def _find_program(name: str, path: str) -> str:
    if "/" in name:
        return name
    for directory in path.split(":"):
        candidate = os.path.join(directory, name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    raise OSError(0, f'exec: "{name}": executable file not found in $PATH')


def _fail(here: int, problem: str) -> str:
    now = time.time()
    records.write_exit(here, Exit(records.START_ERROR, 0, 0.0, now, problem))
    return problem
