"""The agent's end of the launcher: starts it, asks it, and starts another one when it has died."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netproxy.errors import UnsupportedError
from netproxy.log import EventLogger
from netproxy.pods.keeper import launcher
from netproxy.pods.keeper.command import Outcome
from netproxy.pods.keeper.records import START_ERROR

READY_WITHIN_S = 10.0
"""Another agent may still have the state directory, and what it runs may have to end first."""
LOCK = "launcher.lock"
_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_ANSWER = 1 << 17
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from netproxy.pods.keeper import launcher; launcher.main(sys.argv[2:])"
)


class LauncherDiedError(Exception):
    """What was asked for may have happened or not: look."""


class Launching:
    """Asks a launcher for processes.

    Args:
        state_directory: Where its lock is.
    """

    def __init__(self, state_directory: Path) -> None:
        self._lock = state_directory / LOCK
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._beginning = asyncio.Lock()

    async def open(self) -> None:
        """Have a launcher; nothing if there is one.

        Raises:
            UnsupportedError: another agent has this state directory.
        """
        async with self._beginning:
            if self._socket is None:
                await self._begin()

    def close(self) -> None:
        """Let the launcher go; what it started stays."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.wait()  # its socket is closed: it ends at once
            self._process = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(LauncherDiedError("the launcher is gone"))

    async def start(self, run: Path) -> tuple[int, str]:
        """Start the run of a directory: the keeper's process id, or 0 and why not.

        Raises:
            LauncherDiedError: see there.
            UnsupportedError: as of ``open``.
        """
        answer = await self._ask({"do": launcher.START, "run": str(run)}, [])
        return answer["pid"], answer["error"]

    async def execute(
        self, run: Path, keeper: int, command: Sequence[str], timeout_s: float
    ) -> Outcome:
        """Run a command in a container.

        Args:
            run: Its directory.
            keeper: A pidfd of its keeper.
            command: Program and arguments.
            timeout_s: After so long it is killed.
        """
        request = {
            "do": launcher.EXECUTE,
            "run": str(run),
            "command": list(command),
            "timeout_s": timeout_s,
        }
        try:
            answer = await self._ask(request, [keeper])
        except LauncherDiedError as error:
            return Outcome(START_ERROR, "", error=str(error))
        answer.pop("id")
        return Outcome(**answer)

    async def _ask(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        await self.open()
        assert self._socket is not None
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = json.dumps({"id": number, **request}).encode()
        try:
            while True:
                try:
                    socket.send_fds(self._socket, [message], descriptors)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0.005)
            answer: dict[str, Any] = await future
        except OSError as error:
            raise LauncherDiedError("the launcher is gone") from error
        finally:
            self._waiting.pop(number, None)
        return answer

    async def _begin(self) -> None:
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = other.fileno()
        command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT), str(number)]
        self._process = subprocess.Popen(
            [*command, str(self._lock)],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            start_new_session=True,
        )
        other.close()
        mine.setblocking(False)
        self._socket = mine
        ready = self._waiting[0] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(mine, self._receive)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await ready
        except (TimeoutError, LauncherDiedError) as error:
            self._process.kill()
            self.close()
            raise UnsupportedError(
                f"no launcher of containers within {READY_WITHIN_S:g} s",
                hint=f"does another netproxy run pods from {self._lock.parent}?",
            ) from error

    def _receive(self) -> None:
        assert self._socket is not None
        while True:
            try:
                data = self._socket.recv(_LONGEST_ANSWER)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                _log.warning("the launcher of containers is gone", hint="another is started")
                self.close()
                return
            answer = json.loads(data)
            future = self._waiting.get(answer["id"])
            if future is not None and not future.done():
                future.set_result(answer)


_log = EventLogger(__name__)
