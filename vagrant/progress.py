"""What is said meanwhile: a line for each step, with the time since the beginning."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Progress:
    """Writes lines; may be used by several threads."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str, *, who: str = "vm") -> None:
        minutes, seconds = divmod(int(self.seconds), 60)
        with self._lock:
            print(f"[{minutes}:{seconds:02}] {who}: {text}", file=sys.stderr, flush=True)

    def follow(
        self,
        command: Sequence[str],
        who: str,
        log: Path,
        *,
        translate: Callable[[str], tuple[str, str] | None] | None = None,
    ) -> int:
        """Run a command; all its lines go into the log, and are said.

        Args:
            command: The command.
            who: Whose lines they are.
            log: A file that they are added to.
            translate: Who says what with a line; None for one that is not worth saying.

        Returns:
            Its exit code.
        """
        with (
            log.open("a") as kept,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process,
        ):
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    kept.write(line)
                    kept.flush()
                    said = translate(line) if translate else (who, line.rstrip())
                    if said and said[1]:
                        self.say(said[1], who=said[0])
            except BaseException:
                process.kill()
                raise
        return process.returncode
