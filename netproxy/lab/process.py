"""Start processes inside a lab's namespaces: daemons, echo servers, probes, a person's command.

Rule 1: a process is started by a thread that has already entered the namespace, so it is born
there: no helper program, and no code between fork and exec.
Rule 2: nobody keeps a list of processes. Whoever lives in the namespace belongs to the lab.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

from netproxy.errors import ConfigError, NetproxyError, UnsupportedError
from netproxy.netns import namespace

Process = subprocess.Popen[bytes]

_PACKAGE_DIR = Path(__file__).resolve().parents[1]
_ECHO = _PACKAGE_DIR / "lab" / "echo.py"
PROBE = _PACKAGE_DIR / "lab" / "probe.py"


class ProcessError(NetproxyError):
    """A process of the lab ended, or was not ready in time; the message has its last words."""

    exit_code = UnsupportedError.exit_code


def script_command(script: Path, *arguments: str) -> list[str]:
    """Python without site-packages and without this package's directory in its path."""
    return [sys.executable, "-I", "-S", str(script), *arguments]


def netproxy_command(*arguments: str) -> list[str]:
    """This very program, whichever way it was installed."""
    return [sys.executable, "-m", "netproxy", *arguments]


def echo_command(name: str, ports: Sequence[int]) -> list[str]:
    """The server that answers with its identity."""
    flags = [word for port in ports for word in ("--port", str(port))]
    return script_command(_ECHO, "--name", name, *flags)


def spawn(
    space: str,
    command: Sequence[str],
    *,
    log: Path | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> Process:
    """Start a process in a namespace, in a session of its own.

    Args:
        space: Name of the namespace.
        command: Program and arguments.
        log: Takes both of its outputs, unless they are given (appended).
        stdout: Where its output goes.
        stderr: Where its complaints go.

    Raises:
        ConfigError: there is no such namespace, or no such program.
    """
    with contextlib.ExitStack() as stack:
        if log is not None:
            file = stack.enter_context(log.open("ab"))
            stdout = file if stdout == subprocess.DEVNULL else stdout
            stderr = file if stderr == subprocess.DEVNULL else stderr
        return namespace.run_inside(
            space,
            lambda: subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=environment(),
                start_new_session=True,
            ),
        )


def wait_ready(process: Process, *, name: str, timeout_s: float, log: Path | None = None) -> str:
    """The first line that a process writes to its standard output, which is then let go.

    Raises:
        ProcessError: it ended, or said nothing in time.
    """
    assert process.stdout is not None
    with process.stdout as stream, selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        line = stream.readline() if selector.select(timeout_s) else b""
    if not line:
        raise ProcessError(f"{name} did not become ready", hint=last_words(log) if log else None)
    return line.decode().strip()


def replace_self(space: str, command: Sequence[str]) -> NoReturn:
    """Become the command, inside the namespace.

    Raises:
        ConfigError: there is no such namespace or program.
        UnsupportedError: this user may not enter it.
    """
    namespace.enter(space)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - the command is the user's own
    except OSError as error:
        raise ConfigError(
            setting=command[0], problem=f"cannot be run: {os.strerror(error.errno or 0)}"
        ) from error


def last_words(log: Path, *, lines: int = 5) -> str:
    """The end of a log file, for an error's hint: the file itself goes when the lab goes."""
    try:
        text = log.read_text(errors="replace").strip()
    except OSError:
        return "it left no log"
    tail = "\n".join(text.splitlines()[-lines:])
    return f"its log ends with:\n{tail}" if tail else "its log is empty"


def end(process: Process, *, grace_s: float = 1.0) -> None:
    """SIGTERM, then SIGKILL, and reap it."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def environment() -> dict[str, str]:
    """Ours, with this package importable also when it is run from a source tree."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(part for part in (str(_PACKAGE_DIR.parent), inherited) if part)
    return {**os.environ, "PYTHONPATH": path}
