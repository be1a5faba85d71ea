"""Forks the processes that the agent asks for.

Why processes of three kinds:

* The *agent* has threads and a hundred megabytes. It cannot run code between fork and exec, and a
  container's start is such code: namespaces, mounts, a user, a lock that is never let go.
* The *launcher*, this one, is small and has one thread; forking it takes about a millisecond, while
  another Python takes fifteen. It lives as long as the agent and knows nothing.
* A *keeper* is a fork of it, one per container, and outlives both: it has the pipes, the exit code
  and the lock by which the next agent finds it. Nothing has to be handed over.

There is one launcher per state directory. It holds a lock, and what it has been asked for has its
own lock before it looks at the next request; the next agent waits for the former. So nothing starts
behind the back of an agent that has looked around.

Messages are JSON, one in each packet; see ``netproxy.pods.launching`` for the other end.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from netproxy.pods.keeper import command, container, records, syscalls

START, EXECUTE = "start", "execute"
READY = "ready"
_LONGEST_REQUEST = 1 << 18
_MOST_DESCRIPTORS = 4


def main(arguments: Sequence[str]) -> None:
    """Serve until the agent is gone.

    Args:
        arguments: The number of the socket to the agent; the path of the lock's file.
    """
    number, path = arguments
    agent = socket.socket(fileno=int(number))
    _settle()
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    gc.freeze()  # what exists by now is shared with all keepers
    launcher = Launcher(agent, lock)
    launcher.tell({"id": 0, READY: True})
    while launcher.serve():
        pass


class Launcher:
    """Answers the agent.

    Args:
        agent: Where requests come from.
        lock: A descriptor that only this process may have.
    """

    def __init__(self, agent: socket.socket, lock: int) -> None:
        self._agent = agent
        self._lock = lock

    def serve(self) -> bool:
        """One request; false when the agent is gone."""
        data, descriptors = _receive(self._agent)
        if not data:
            return False
        request = json.loads(data)
        if request["do"] == START:
            self._start(request)
        else:
            self._fork(lambda: _execute(request, descriptors[0]), request)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def tell(self, answer: dict[str, Any]) -> None:
        """The agent may be gone."""
        with contextlib.suppress(OSError):
            self._agent.send(json.dumps(answer).encode())

    def _start(self, request: dict[str, Any]) -> None:
        directory = request["run"]
        try:
            lock = records.take_lock(directory)
        except OSError as error:
            self.tell({"id": request["id"], "pid": 0, "error": error.strerror})
            return
        self._fork(lambda: _start(directory, lock), request)
        os.close(lock)

    def _fork(self, work: Callable[[], dict[str, Any]], request: dict[str, Any]) -> None:
        """A child that does the work and answers."""
        if os.fork() == 0:
            try:
                os.close(self._lock)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                self.tell({"id": request["id"], **work()})
            finally:
                os._exit(0)


def _start(directory: str, lock: int) -> dict[str, Any]:
    pid, error = container.start(directory, lock)
    return {"pid": pid, "error": error}


def _execute(request: dict[str, Any], keeper: int) -> dict[str, Any]:
    outcome = command.run(request["run"], keeper, request["command"], request["timeout_s"])
    return outcome._asdict()


def _settle() -> None:
    """Be nobody's child in particular: no signals of a terminal, and no zombies; the proxy's
    protection from the kernel's lack of memory is not for containers.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    syscalls.become_subreaper()
    for path, text in (("/proc/self/oom_score_adj", "0"), ("/proc/self/comm", "netproxy-launch")):
        with contextlib.suppress(OSError), open(path, "w") as file:
            file.write(text)
    os.chdir("/")


def _receive(agent: socket.socket) -> tuple[bytes, list[int]]:
    descriptors = array.array("i")
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * descriptors.itemsize)
    try:
        data, ancillary, _, _ = agent.recvmsg(_LONGEST_REQUEST, room, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return b"", []
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(payload)
    return data, list(descriptors)
