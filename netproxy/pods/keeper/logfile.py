"""What a container writes, line by line with time and stream, in files that do not grow for ever.

The format is the one that container runtimes agreed on, so that what reads ``/var/log/pods`` reads
these: ``2026-11-23T19:41:17.123456789Z stdout F the line``. ``P`` instead of ``F`` is a piece of a
line that is longer than 16 KiB; its end follows.

Source: the kubelet's log format for container runtimes (CRI).
"""

from __future__ import annotations

import os
import time

LONGEST_PIECE = 16 * 1024
"""Bytes."""
OLDER = ".1"
"""What is appended to the name of the file before the current one."""


class LogFile:
    """Takes bytes of both streams and writes lines; the file before the last is forgotten.

    Args:
        directory: A descriptor: the path may mean something else by now.
        name: Of the file in it.
        most: After about so many bytes another file begins.
    """

    def __init__(self, directory: int, name: str, most: int) -> None:
        self._directory = directory
        self._name = name
        self._most = most
        self._rest = {"stdout": b"", "stderr": b""}
        self._file = self._open()
        self._size = os.fstat(self._file).st_size

    def take(self, stream: str, data: bytes) -> None:
        """Bytes that arrived; what does not end a line waits."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        tag = f"{_timestamp(time.time_ns())} {stream} ".encode()
        records: list[bytes] = []
        for line in lines:
            tail = _cut(tag, line, records)
            records.append(b"%sF %s\n" % (tag, tail))
        self._rest[stream] = _cut(tag, rest, records)
        self._write(b"".join(records))

    def end(self) -> None:
        """Nothing more comes: write what waits."""
        for stream, rest in self._rest.items():
            if rest:
                self.take(stream, b"\n")
        os.close(self._file)

    def _write(self, records: bytes) -> None:
        if not records:
            return
        if self._size and self._size + len(records) > self._most:
            self._rotate()
        try:
            os.write(self._file, records)
        except OSError:
            return  # a full disk loses lines; it must not stop the container
        self._size += len(records)

    def _rotate(self) -> None:
        here = self._directory
        os.rename(self._name, self._name + OLDER, src_dir_fd=here, dst_dir_fd=here)
        os.close(self._file)
        self._file = self._open()
        self._size = 0

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._name, flags, 0o640, dir_fd=self._directory)


def _cut(tag: bytes, line: bytes, records: list[bytes]) -> bytes:
    """Turn all of a line but its last piece into records; returns that piece."""
    while len(line) > LONGEST_PIECE:
        records.append(b"%sP %s\n" % (tag, line[:LONGEST_PIECE]))
        line = line[LONGEST_PIECE:]
    return line


def _timestamp(at_ns: int) -> str:
    """As the API has it, in UTC.

    Example:
        >>> _timestamp(1_700_000_000_000_000_007)
        '2023-11-14T22:13:20.000000007Z'
    """
    seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
