"""How many requests we send: a bucket of tokens, as kube-proxy's --kube-api-qps and -burst mean."""

from __future__ import annotations


class TokenBucket:
    """Requests pass at once while there are tokens, and in their order when there are none.

    Args:
        per_second: New tokens; 0: kube-proxy's 5; negative: everybody passes.
        most: Tokens at most, and at the beginning; 0: kube-proxy's 10.
    """

    def __init__(self, per_second: float, most: int) -> None:
        self._rate = per_second or 5.0
        self._most = float(most or 10)
        self._tokens = self._most
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take a token; returns for how many seconds to wait before it is there.

        Args:
            now: Seconds of a clock that does not jump.

        Example:
            >>> bucket = TokenBucket(2, 1)
            >>> [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0), bucket.take(9.0)]
            [0.0, 0.5, 1.0, 0.0]
        """
        if self._rate < 0:
            return 0.0
        if self._at is not None:
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)
