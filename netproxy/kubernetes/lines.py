"""Cuts a stream of bytes into lines of any length, up to a limit of ours."""

from __future__ import annotations

from collections.abc import Iterator


class LineTooLongError(Exception):
    """More bytes than a line may have, and no end of it."""


class LineSplitter:
    """Feed pieces, get lines.

    Args:
        limit: The longest line, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        r"""The lines that end in this piece, without their ends; what is left waits for more.

        Raises:
            LineTooLongError: a line is longer than it may be.

        Example:
            >>> splitter = LineSplitter(limit=10)
            >>> list(splitter.feed(b"a\nb")), list(splitter.feed(b"c\r\n\nd"))
            ([b'a'], [b'bc', b''])
        """
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._add(piece[start:end])
            line = b"".join(self._pieces)
            self._pieces, self._length = [], 0
            start = end + 1
            yield line.removesuffix(b"\r")
        self._add(piece[start:])

    def _add(self, part: bytes) -> None:
        self._length += len(part)
        if self._length > self._limit:
            raise LineTooLongError
        if part:
            self._pieces.append(part)
